//! Prints the OpenAPI document of the admin API: `just generate` keeps docs/reference/openapi.json up to date with it.

fn main() {
    println!("{:#}", grapnel::admin::openapi::document());
}
