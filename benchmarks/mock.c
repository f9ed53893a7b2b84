/* A web server that is no bottleneck: one thread, epoll, answers kept back for some milliseconds.
 *
 * mock DELAY-MS: its port is the one line it prints. It plays two sites: Douyu, a room a request (one in five is live), and Twitch's Helix,
 * up to a hundred streamers a request (one in five is live). Anything else is a token that never ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS 8192
#define REQUEST 16384  /* a hundred ids and the headers of a browser fit */
#define WAITING 65536
#define ANSWER 131072  /* a hundred streams of a kilobyte */

struct client { int used; char said[REQUEST + 1]; };
struct waiting { int fd; double due; char *body; int size; };

static struct client clients[CLIENTS];
static struct waiting queue[WAITING];
static unsigned first, last;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static const char *PADDING =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static int room(char *out, long id) {
    return sprintf(out,
        "{\"room\":{\"room_id\":%ld,\"show_status\":%d,\"videoLoop\":0,\"show_time\":1790000000,"
        "\"room_name\":\"A room\",\"nickname\":\"Somebody\",\"second_lvl_name\":\"Chess\",\"cate_name\":\"Chess\","
        "\"room_pic\":\"https://static.example/%ld.jpg\",\"avatar\":{\"big\":\"\",\"middle\":\"\",\"small\":\"\"},"
        "\"room_biz_all\":{\"hot\":\"4321\"},\"more\":\"%s%s%s%s\"},\"column\":{}}",
        id, id % 5 ? 2 : 1, id, PADDING, PADDING, PADDING, PADDING);
}

static int streams(char *out, const char *query) {
    int size = sprintf(out, "{\"data\":[");
    int any = 0;
    for (const char *at = query; (at = strstr(at, "user_id=")); ) {
        at += 8;
        long id = strtol(at, NULL, 10);
        if (id % 5) continue;
        size += sprintf(out + size,
            "%s{\"id\":\"s%ld\",\"user_id\":\"%ld\",\"user_login\":\"u%ld\",\"user_name\":\"U%ld\",\"game_id\":\"1\","
            "\"game_name\":\"Chess\",\"type\":\"live\",\"title\":\"A stream\",\"viewer_count\":321,"
            "\"started_at\":\"2026-09-21T14:13:20Z\",\"language\":\"en\",\"thumbnail_url\":"
            "\"https://static.example/%ld-{width}x{height}.jpg\",\"tags\":[\"%s\"]}",
            any++ ? "," : "", id, id, id, id, id, PADDING);
    }
    return size + sprintf(out + size, "],\"pagination\":{}}");
}

static void answer(int fd, const char *said, double delay) {
    static char body[ANSWER];
    const char *path = strchr(said, ' ');
    int size;
    path = path ? path + 1 : "/";
    if (!strncmp(path, "/betard/", 8)) size = room(body, strtol(path + 8, NULL, 10));
    else if (!strncmp(path, "/helix/streams", 14)) size = streams(body, path);
    else size = sprintf(body, "{\"access_token\":\"t\",\"expires_in\":5000000,\"token_type\":\"bearer\"}");
    struct waiting *one = &queue[last++ % WAITING];
    one->fd = fd;
    one->due = now() + delay;
    one->body = malloc(size + 256);
    one->size = sprintf(one->body,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n", size);
    memcpy(one->body + one->size, body, size);
    one->size += size;
}

static void hear(int fd, double delay) {
    struct client *one = &clients[fd];
    ssize_t got = read(fd, one->said + one->used, REQUEST - one->used);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        close(fd);
        one->used = 0;
        return;
    }
    one->used += got;
    one->said[one->used] = 0;
    char *end = strstr(one->said, "\r\n\r\n");
    if (!end) return;
    char *length = strcasestr(one->said, "content-length:");
    long wanted = end + 4 - one->said + (length && length < end ? strtol(length + 15, NULL, 10) : 0);
    if (one->used < wanted) return;
    answer(fd, one->said, delay);
    one->used = 0;
}

static void send_due(void) {
    while (first != last && queue[first % WAITING].due <= now()) {
        struct waiting *one = &queue[first++ % WAITING];
        int sent = 0;
        while (sent < one->size) {
            ssize_t wrote = write(one->fd, one->body + sent, one->size - sent);
            if (wrote > 0) sent += wrote;
            else if (wrote < 0 && errno == EAGAIN) usleep(100);
            else break;
        }
        free(one->body);
    }
}

int main(int argc, char **argv) {
    double delay = atof(argv[argc - 1]) / 1000;
    struct rlimit files = {CLIENTS, CLIENTS};
    setrlimit(RLIMIT_NOFILE, &files);
    int door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof where;
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(door, (void *)&where, sizeof where) || listen(door, 4096)) return perror("mock"), 1;
    getsockname(door, (void *)&where, &size);
    printf("%d\n", ntohs(where.sin_port));
    fflush(stdout);
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = door}, found[512];
    epoll_ctl(poll, EPOLL_CTL_ADD, door, &event);
    for (;;) {
        int patience = first == last ? 1000 : 1;
        int count = epoll_wait(poll, found, 512, patience);
        for (int at = 0; at < count; at++) {
            if (found[at].data.fd != door) { hear(found[at].data.fd, delay); continue; }
            int fd;
            while ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (fd >= CLIENTS) { close(fd); continue; }
                clients[fd].used = 0;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                event.events = EPOLLIN;
                event.data.fd = fd;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
            }
        }
        send_due();
    }
}
