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

# Format the code
fmt:
    cargo fmt

# Fail when the code is not formatted
fmt-check:
    cargo fmt --check

# Lint with warnings as errors
lint:
    cargo clippy --all-targets --locked -- -D warnings

# Licenses, sources and forbidden crates; advisories too where their database can be reached
deny:
    ./scripts/deny

# Write the generated files
generate:
    cargo run --quiet -- crd --output crds
    cargo run --quiet --example api_reference > docs/api.md

# Fail when a generated file is not up to date
generate-check: generate
    git diff --exit-code -- crds docs/api.md

# Build what is shipped
release:
    cargo build --release --locked

# Send real webhooks through the quickstart from the outside: send, receive, kill, start again
smoke: release
    ./scripts/smoke target/release/grapnel

# Compare speed and memory with the bare floor
bench *ARGS:
    cargo bench --bench walk -- {{ARGS}}

# All that CI runs
ci: test fmt-check lint deny generate-check release smoke
