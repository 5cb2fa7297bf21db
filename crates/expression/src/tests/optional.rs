//! Optional values and their syntax.

use serde_json::json;

use super::*;

#[test]
fn optional_elements_and_entries_are_left_out() {
    give(&[
        ("[?payload.?action, ?payload.?other, 1]", json!(["opened", 1])),
        ("[1, ?optional.none()]", json!([1])),
        ("[ ?optional.of(1),]", json!([1])),
        ("{?'a': payload.?action, ?'b': payload.?other, 'c': 1}", json!({"a": "opened", "c": 1})),
        ("{?'a': optional.none()}.size()", json!(0)),
        ("{'a': [1]}[?'a'].value()[?0].orValue(2)", json!(1)),
        ("payload[?'other'].hasValue()", json!(false)),
    ]);
}

#[test]
fn optional_values_are_mapped() {
    give(&[
        ("payload.?amount.optMap(a, a * 2).orValue(0)", json!(24_100)),
        ("payload.?other.optMap(a, a * 2).orValue(0)", json!(0)),
        ("payload.?repository.optFlatMap(r, r.?full_name).orValue('none')", json!("acme/shop")),
        ("payload.?repository.optFlatMap(r, r.?owner).orValue('none')", json!("none")),
        ("[1, 2].map(x, optional.of(x).optMap(y, x + y).value())", json!([2, 4])),
    ]);
}

#[test]
fn zero_values_are_none() {
    give(&[
        ("[0, 0u, 0.0, '', b'', false, null, [], {}].exists(x, optional.ofNonZeroValue(x).hasValue())", json!(false)),
        ("optional.ofNonZeroValue(duration('0s')).hasValue()", json!(false)),
        ("optional.ofNonZeroValue(payload.action).orValue('none')", json!("opened")),
        ("optional.ofNonZeroValue('').orValue('none')", json!("none")),
    ]);
}

/// A field of what has no fields is an error; the optional field is absent.
#[test]
fn fields_of_present_values_that_are_not_maps() {
    give(&[
        ("payload.?nothing.?x.hasValue()", json!(false)),
        ("payload.?other.x.hasValue()", json!(false)),
        ("optional.of({'a': {'b': 1}}).a.b.orValue(0)", json!(1)),
        ("optional.of([1])[0].value()", json!(1)),
    ]);
    for wrong in ["optional.of(1).x", "optional.of('a').x.orValue('b')", "optional.of(1)[0]"] {
        assert!(evaluate(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn fields_are_named_in_backticks() {
    give(&[
        ("{'a-b': {'c.d/e f': 1}}.`a-b`.`c.d/e f`", json!(1)),
        ("has({'a-b': 1}.`a-b`) && !has({'a-b': 1}.`a-c`)", json!(true)),
        ("headers.`x-github-event`", json!("push")),
        ("headers.?`x-other`.orValue('none')", json!("none")),
    ]);
}

#[test]
fn names_after_a_dot_are_not_variables_of_macros() {
    give(&[("['a'].map(event, .event.id + event)", json!(["evt_1a"]))]);
}

#[test]
fn numbers_find_keys_by_their_value() {
    give(&[
        ("{1: 'a', 2u: 'b'}[1.0] + {1: 'a', 2u: 'b'}[2.0]", json!("ab")),
        ("1.0 in {1: 'a'} && !(1.5 in {1: 'a'})", json!(true)),
        ("{1: 'a'}[?2.0].orValue('none')", json!("none")),
    ]);
}
