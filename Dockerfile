# For livectl 0.2.0.dev0; made by `livectl deploy`, which makes it anew.
FROM python:3.13-slim AS build
RUN python -m venv --without-pip /opt/livectl
COPY . /src
RUN python -m pip --python /opt/livectl/bin/python install --no-cache-dir --no-compile '/src[alerts]'

FROM python:3.13-slim
ARG UID=1000
RUN useradd --uid $UID --home-dir /var/lib/livectl --no-create-home livectl \
    && install -d -o livectl -g livectl -m 0700 /var/lib/livectl \
    && install -d -o livectl -g livectl /srv/livectl
COPY --from=build /opt/livectl /opt/livectl
ENV PATH=/opt/livectl/bin:$PATH HOME=/var/lib/livectl LIVECTL_HOME=/var/lib/livectl PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Here are livectl.yaml, follows.yaml and schedules.yaml: mount a folder of yours, as compose.yaml does.
WORKDIR /srv/livectl
USER livectl
VOLUME /var/lib/livectl
EXPOSE 8787
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["livectl", "health", "worker"]
ENTRYPOINT ["livectl"]
CMD ["up"]
