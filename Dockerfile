# The image of activation-operator: one static program and the public authorities, nothing else. No shell, a numeric user.
#
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" --tag REGISTRY/activation-operator:0.1.0 .

# As rust-toolchain.toml says; a test holds them equal.
ARG RUST_VERSION=1.95.0

FROM rust:${RUST_VERSION}-alpine AS build
# Ring and mimalloc are partly C.
RUN apk add --no-cache ca-certificates gcc musl-dev
# The compiler that is here, without the components that developers want besides.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
WORKDIR /build

# The dependencies, in layers of their own: built again only where the manifests change. Cargo wants a source for every target that
# a manifest names.
COPY Cargo.toml Cargo.lock ./
COPY tests/kinesis-stub/Cargo.toml tests/kinesis-stub/
RUN mkdir -p src benches/pipeline tests/kinesis-stub/src \
    && echo 'fn main() {}' | tee src/main.rs tests/kinesis-stub/src/main.rs benches/pipeline/main.rs \
    && touch src/lib.rs tests/kinesis-stub/src/lib.rs
RUN cargo fetch --locked
RUN cargo build --release --locked --package activation-operator --bin activation-operator

# The program. What was built from the stand-ins is older than what is copied.
COPY src src
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package activation-operator --bin activation-operator

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="activation-operator" \
      org.opencontainers.image.description="Activates audiences to Amazon Kinesis Data Streams, declared as Kubernetes resources" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/activation-operator /activation-operator
COPY LICENSE /LICENSE
# Whom TLS to AWS and to webhooks trusts; another file may be mounted and named instead.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 8443 8081
ENTRYPOINT ["/activation-operator"]
CMD ["--help"]
