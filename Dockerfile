# The box: built with the Rust image, run from a small Debian by an account without privileges.
FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN apt-get update && apt-get install -qy --no-install-recommends libcap2-bin && rm -rf /var/lib/apt/lists/*
# Permitted and not effective, so that the box starts without them too; what it does with them: docs/guide/media.md.
RUN cargo build --locked --release -p drawbridge && strip target/release/drawbridge \
    && setcap cap_bpf,cap_net_admin,cap_net_raw=p target/release/drawbridge

FROM debian:bookworm-slim
RUN useradd --system --create-home --home-dir /var/lib/drawbridge --shell /usr/sbin/nologin drawbridge
COPY --from=build /src/target/release/drawbridge /usr/local/bin/drawbridge
USER drawbridge
WORKDIR /var/lib/drawbridge
VOLUME /var/lib/drawbridge
EXPOSE 5060/udp 5060/tcp 8080/tcp
# HOST/PORT of the API as seen from inside.
ENV DRAWBRIDGE_HEALTH=127.0.0.1/8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/$DRAWBRIDGE_HEALTH && printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["drawbridge"]
CMD ["run"]
