//! Timestamps and durations.

use serde_json::json;

use super::*;

#[test]
fn timestamps_cover_the_years_1_to_9999() {
    give(&[
        ("timestamp('9999-12-31T23:59:59.999999999Z')", json!("9999-12-31T23:59:59.999999999Z")),
        ("timestamp('0001-01-01T00:00:00Z')", json!("0001-01-01T00:00:00Z")),
        ("timestamp('0000-12-31T23:30:00-01:00')", json!("0001-01-01T00:30:00Z")),
        ("timestamp(253402300799)", json!("9999-12-31T23:59:59Z")),
        ("timestamp('9999-12-31T23:59:59Z').getHours('Asia/Tokyo') == 0 || true", json!(true)),
        ("timestamp('9999-12-31T23:59:59Z').getHours('America/New_York')", json!(18)),
    ]);
}

#[test]
fn timestamps_are_read_as_in_rfc_3339() {
    give(&[
        ("timestamp('2026-03-01T12:00:00.5+01:00')", json!("2026-03-01T11:00:00.5Z")),
        ("timestamp('2026-03-01t12:00:00z')", json!("2026-03-01T12:00:00Z")),
        ("timestamp('2026-03-01T12:00:00.1234567891Z')", json!("2026-03-01T12:00:00.123456789Z")),
        ("timestamp('2024-02-29T00:00:00-00:00') == timestamp('2024-02-29T00:00:00Z')", json!(true)),
    ]);
}

#[test]
fn integers_of_timestamps_are_rounded_down() {
    give(&[
        ("int(timestamp('1969-12-31T23:59:59.5Z'))", json!(-1)),
        ("int(timestamp('1969-12-31T23:59:59Z'))", json!(-1)),
        ("int(timestamp('1970-01-01T00:00:00.9Z'))", json!(0)),
        ("int(-9223372036854775808.0)", json!(i64::MIN)),
    ]);
}

#[test]
fn types_of_times_have_names() {
    give(&[
        ("type(event.time)", json!("google.protobuf.Timestamp")),
        ("type(event.time) == google.protobuf.Timestamp", json!(true)),
        ("type(duration('1s')) == google.protobuf.Duration", json!(true)),
        ("type(optional.none()) == optional_type", json!(true)),
    ]);
}

#[test]
fn accessors_take_time_zones() {
    give(&[
        ("timestamp('2026-07-01T23:30:00Z').getHours('Europe/Berlin')", json!(1)),
        ("timestamp('2026-01-01T23:30:00Z').getHours('Europe/Berlin')", json!(0)),
        ("timestamp('2026-01-01T23:30:00Z').getDate('Asia/Kolkata')", json!(2)),
        ("timestamp('2026-01-01T00:00:00Z').getFullYear('America/New_York')", json!(2025)),
        ("timestamp('2026-03-01T12:00:00Z').getHours('02:00')", json!(14)),
        ("timestamp('2026-03-01T12:00:00Z').getMinutes('-00:30')", json!(30)),
        ("timestamp('2026-03-01T12:00:00Z').getHours('UTC')", json!(12)),
        ("timestamp('0001-01-01T00:00:00Z').getFullYear('-01:00')", json!(0)),
    ]);
}

#[test]
fn durations_are_read_as_in_go() {
    give(&[
        ("duration('1h30m')", json!("5400s")),
        ("duration('+1.5s') + duration('.5s') + duration('-0.25s')", json!("1.75s")),
        ("duration('0')", json!("0s")),
        ("duration('1ms2us3ns')", json!("0.001002003s")),
        ("duration('-292h') < duration('0s')", json!(true)),
        ("duration('1h') == duration('60m')", json!(true)),
    ]);
    for wrong in ["", "-", "1", "1x", "h", ".s", "1.2.3s", "1s ", " 1s", "1s-1s", "9999999999h"] {
        assert!(evaluate(&format!("duration('{wrong}')")).is_err(), "{wrong}");
    }
}
