# syntax=docker/dockerfile:1
# The image of Grapnel:  docker build -t registry.example.com/platform/grapnel:0.1.0 .
#
# Builder and image have the same Debian, and so the same glibc. The binary needs libc, libm and libgcc_s, which
# distroless/cc has, and CA certificates, which it has too.

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src

# Dependencies first, in a layer that is kept until Cargo.toml, Cargo.lock or crates/ change: they are built for an empty
# top crate.
COPY Cargo.toml Cargo.lock ./
COPY crates crates
RUN mkdir -p src benches \
    && echo 'fn main() {}' | tee src/main.rs benches/walk.rs > benches/retention.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin grapnel

COPY src src
# Cargo goes by the time of files, and those of the empty crate are younger.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin grapnel \
    && strip --strip-debug target/release/grapnel \
    # The volume's mount point, and where the journal is when nothing is mounted; owned by the user of the image below.
    && mkdir -p /root-of-image/data \
    && chown 65532:65532 /root-of-image/data

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="grapnel" \
      org.opencontainers.image.description="A Kubernetes operator that receives, verifies, deduplicates, stores and delivers webhooks" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=build --chown=0:0 /src/target/release/grapnel /usr/local/bin/grapnel
COPY --from=build --chown=65532:65532 /root-of-image/data /data
# Nothing but the journal is written, so the root may be read-only. Relative paths are below the volume.
WORKDIR /data
ENV GRAPNEL_DATA_DIR=/data/journal
VOLUME /data
# By number, so that runAsNonRoot can be checked.
USER 65532:65532
# Webhooks; health, metrics and the events API.
EXPOSE 8080 9090
ENTRYPOINT ["/usr/local/bin/grapnel"]
CMD ["run"]
