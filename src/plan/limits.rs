//! Bounds of a plan.

grapnel_values::bounds! {
    /// Maximum examples of each kind of difference of an object.
    pub const PLAN_EXAMPLES: usize = 5;

    /// Maximum lines of a body's diff.
    pub const PLAN_DIFF_LINES: usize = 60;

    /// Maximum lines of each body that are compared one by one; of a longer one, the first that differ are shown.
    pub const PLAN_COMPARED_LINES: usize = 1000;

    /// Maximum characters of a line of a diff, and of a message.
    pub const PLAN_LINE_CHARS: usize = 200;
}
