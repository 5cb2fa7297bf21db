//! Bounds of expressions.

grapnel_values::bounds! {
    /// Longest expression, in bytes. A transformation that fills a page has some 3 KiB.
    pub const EXPRESSION_BYTES: usize = 16 * 1024;

    /// Deepest nesting of an expression. Chains of `+`, `&&` and `||` are one level, however long they are.
    pub const EXPRESSION_DEPTH: usize = 100;

    /// Largest automaton of one regular expression, in bytes.
    pub const EXPRESSION_PATTERN_BYTES: usize = 256 * 1024;

    /// Memory of all literal patterns of one expression when they are compiled, in bytes. Equal patterns count once.
    pub const EXPRESSION_PATTERNS_BYTES: usize = 1 << 20;

    /// Steps that each byte of a regular expression costs each time it is read while an expression is evaluated: limits are
    /// doubled until it fits, and each attempt is charged.
    pub const EXPRESSION_PATTERN_STEPS: usize = 200;

    /// Largest JSON that `transform` may make, in bytes.
    pub const TRANSFORM_BYTES: usize = 4 << 20;
}
