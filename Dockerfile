# syntax=docker/dockerfile:1
# The image of Grapnel:
#   docker build -t registry.example.com/platform/grapnel:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 -t registry.example.com/platform/grapnel:0.1.0 --push .
#
# Builder and image have the same Debian, and so the same glibc. The binary needs libc, libm and libgcc_s, which
# distroless/cc has, and CA certificates, which it has too. The builder runs on the machine's own architecture and compiles
# for the other one: emulation would take hours.

FROM --platform=$BUILDPLATFORM rust:1.95.0-slim-bookworm AS build
ARG BUILDARCH
ARG TARGETARCH
WORKDIR /src

# The linker and the C library of the target. `target` has the names by which Rust and Debian know it.
RUN case "$TARGETARCH" in \
      amd64) rust=x86_64-unknown-linux-gnu gcc=x86-64-linux-gnu ;; \
      arm64) rust=aarch64-unknown-linux-gnu gcc=aarch64-linux-gnu ;; \
      *) echo "no such architecture: $TARGETARCH" >&2; exit 1 ;; \
    esac \
    && if [ "$TARGETARCH" = "$BUILDARCH" ]; then \
         printf 'export RUST_TARGET=%s STRIP=strip\n' "$rust"; \
       else \
         apt-get update -q >&2 \
         && apt-get install -y -q --no-install-recommends "gcc-$gcc" "libc6-dev-$TARGETARCH-cross" >&2 \
         && rm -rf /var/lib/apt/lists/* \
         && prefix=$(echo "$gcc" | sed 's/^x86-64/x86_64/') \
         && name=$(echo "$rust" | tr - _) \
         && printf 'export RUST_TARGET=%s STRIP=%s-strip CC_%s=%s-gcc CARGO_TARGET_%s_LINKER=%s-gcc\n' \
              "$rust" "$prefix" "$name" "$prefix" "$(echo "$name" | tr a-z A-Z)" "$prefix"; \
       fi >/target \
    && . /target \
    && rustup target add "$RUST_TARGET"

# Dependencies first, in a layer that is kept until Cargo.toml, Cargo.lock or crates/ change: they are built for an empty
# top crate.
COPY Cargo.toml Cargo.lock ./
COPY crates crates
RUN . /target \
    && mkdir -p src benches \
    && echo 'fn main() {}' | tee src/main.rs benches/walk.rs > benches/retention.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --target "$RUST_TARGET" --bin grapnel

COPY src src
# Cargo goes by the time of files, and those of the empty crate are younger.
RUN . /target \
    && touch src/main.rs src/lib.rs \
    && cargo build --release --locked --target "$RUST_TARGET" --bin grapnel \
    && "$STRIP" --strip-debug -o /grapnel "target/$RUST_TARGET/release/grapnel" \
    # The volume's mount point, and where the journal is when nothing is mounted; owned by the user of the image below.
    && mkdir -p /root-of-image/data \
    && chown 65532:65532 /root-of-image/data

# The binary alone, for archives: docker buildx build --target binary --output out .
FROM scratch AS binary
COPY --from=build /grapnel /grapnel

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="grapnel" \
      org.opencontainers.image.description="A Kubernetes operator that receives, verifies, deduplicates, stores and delivers webhooks" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=build --chown=0:0 /grapnel /usr/local/bin/grapnel
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
