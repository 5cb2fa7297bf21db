# Recipes of the project; .ci/run calls the same ones.

# List the recipes
default:
    @just --list

# Run the main job: the quickstart, without a cluster
run:
    cargo run --release -- standalone -f examples/quickstart

# Run every test
test:
    ./scripts/test

# Cut the power of brokers; needs root, loop devices and e2fsprogs
power:
    cargo nextest run --locked --workspace --run-ignored only -E '(binary(replicas) & test(/^power::/)) or (package(grapnel-test-support) & test(/^disk::/))'

# Write the pictures of the documentation
screenshots:
    mkdir -p docs/images
    GRAPNEL_SCREENSHOTS=docs/images cargo nextest run --test console -E 'test(/^walk::an_event/)'

# Format the code
fmt:
    cargo fmt

# Fail when the code is not formatted
fmt-check:
    cargo fmt --check

# Lint with warnings as errors
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Documentation of the crates, with warnings as errors
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Licenses, sources and forbidden crates; advisories too where their database can be reached
deny:
    ./scripts/deny

# Fail when a package names a dependency that it does not use
unused:
    ./scripts/unused

# Fail when a dependency needs a newer Rust than `rust-version`
msrv:
    ./scripts/msrv

# Fuzz one reader of outside bytes for a minute (fuzz/targets.rs); needs nightly Rust and cargo-fuzz
fuzz TARGET *ARGS:
    cargo +nightly fuzz run -s none {{TARGET}} -- -max_total_time=60 {{ARGS}}

# Write the generated files
generate:
    # Built together with an example, dependencies have the features that tests have: nothing is compiled twice.
    cargo build --quiet --bin grapnel --examples
    "${CARGO_TARGET_DIR:-target}/debug/grapnel" crd --output crds
    "${CARGO_TARGET_DIR:-target}/debug/examples/api_reference" > docs/api.md
    "${CARGO_TARGET_DIR:-target}/debug/examples/limits" > docs/limits.md
    mkdir -p docs/reference
    "${CARGO_TARGET_DIR:-target}/debug/examples/openapi" > docs/reference/openapi.json
    "${CARGO_TARGET_DIR:-target}/debug/examples/providers"
    "${CARGO_TARGET_DIR:-target}/debug/examples/chart_readme"
    ./scripts/render
    ./scripts/argocd > manifests/argocd/argocd-cm.yaml

# Write man pages to a directory
man DIR="target/man":
    cargo run --quiet --example man_pages -- {{DIR}}

# Fail when a generated file is not up to date
generate-check: generate
    git diff --exit-code -- crds docs/api.md docs/limits.md docs/providers.md docs/reference charts manifests

# Build what is shipped
release:
    cargo build --release --locked

# Helm, as the project uses it (3.6 from npm when there is none on PATH)
helm *ARGS:
    ./scripts/helm {{ARGS}}

# What the chart renders; ARGS go to `helm template`, such as `--set tls.enabled=true,tls.secretName=hooks`
chart *ARGS:
    ./scripts/helm lint --strict charts/grapnel {{ARGS}}
    ./scripts/helm template grapnel charts/grapnel --namespace grapnel-system {{ARGS}}

# The image; needs Docker or what understands its command line
image TAG="grapnel:0.1.0":
    docker build -t {{TAG}} .

# Send real webhooks through the quickstart from the outside: send, receive, kill, start again
smoke: release
    ./scripts/smoke target/release/grapnel

# Compare speed and memory with the bare floor
bench *ARGS:
    cargo bench --bench walk -- {{ARGS}}

# Measure appends while retention runs, and what the disk gets back
bench-retention *ARGS:
    cargo bench --bench retention -- {{ARGS}}

# All that CI runs
ci: test fmt-check lint deny unused msrv generate-check release smoke
