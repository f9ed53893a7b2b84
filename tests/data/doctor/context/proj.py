"""A Flask site whose tasks use it without being inside it."""

import os

from celery import Celery
from flask import Flask, current_app

site = Flask("proj")
app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_BROKER"])


@app.task
def greet():
    return current_app.config["GREETING"]
