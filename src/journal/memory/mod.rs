//! The naive engine: the whole journal in plain collections.
