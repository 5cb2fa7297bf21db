//! Bounds of expressions.

grapnel_values::bounds! {
    /// Longest expression, in bytes. A transformation that fills a page has some 3 KiB.
    pub const EXPRESSION_BYTES: usize = 16 * 1024;

    /// Deepest nesting of an expression. Chains of `+`, `&&` and `||` are one level, however long they are.
    pub const EXPRESSION_DEPTH: usize = 100;

    /// Largest compiled regular expression of an expression, in bytes.
    pub const EXPRESSION_PATTERN_BYTES: usize = 256 * 1024;

    /// Steps that each byte of a regular expression costs every time that it is read while an expression is evaluated: some
    /// times, until the size is found that it fits into, which is paid for as well.
    pub const EXPRESSION_PATTERN_STEPS: usize = 200;

    /// Largest JSON that `transform` may make, in bytes.
    pub const TRANSFORM_BYTES: usize = 4 << 20;
}
