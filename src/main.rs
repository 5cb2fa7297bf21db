//! The `grapnel` command.

fn main() {}
