# The gateway, the migrations and the `nock` command: no torch and no queue in here.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /srv/nock
WORKDIR /source
# The libraries come first, in a layer that a change of our code leaves alone; empty folders stand in for the code.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir core service worker engine cli sim migrations \
    && /srv/nock/bin/pip install -c constraints.txt '.[service,cli,export]'
COPY core core
COPY service service
COPY worker worker
COPY engine engine
COPY cli cli
COPY sim sim
COPY migrations migrations
RUN /srv/nock/bin/pip install --no-deps --force-reinstall .

FROM python:3.11-slim-bookworm
# The same number in every image: what one container writes into a volume, the others may read.
RUN groupadd --gid 10001 nock \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin nock \
    && install -d -o nock -g nock /var/lib/nock/adapters
COPY --from=build /srv/nock /srv/nock
# PYTHONSAFEPATH: a folder named `core` where a container happens to stand must not hide ours.
ENV PATH=/srv/nock/bin:$PATH PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/nock
USER 10001:10001
CMD ["python", "-m", "service"]
