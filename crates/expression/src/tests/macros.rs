//! Macros with two variables.

use serde_json::json;

use super::*;

#[test]
fn macros_of_two_variables_have_index_or_key_and_value() {
    give(&[
        ("[1, 2].all(i, v, v == i + 1)", json!(true)),
        ("payload.lines.exists(i, line, i == 1 && line.sku == 'b')", json!(true)),
        ("{'a': 1, 'b': 2}.existsOne(k, v, k == 'b' && v == 2)", json!(true)),
        ("headers.exists(name, value, name == 'accept' && value.contains('b'))", json!(true)),
        ("event.exists(name, value, name == 'id' && value == 'evt_1')", json!(true)),
        ("[3, 4].transformList(i, v, i * v)", json!([0, 4])),
        ("{'a': 1, 'b': 2}.transformList(k, v, v > 1, k + string(v))", json!(["b2"])),
        ("{'b': 1, 'a': 2}.transformMap(k, v, v * 10)", json!({"b": 10, "a": 20})),
        ("['x', 'y'].transformMap(i, v, i > 0, v + string(i))", json!({"1": "y1"})),
        ("payload.lines.transformMapEntry(i, line, {line.sku: line.quantity})", json!({"a": 2, "b": 1})),
        ("{'a': 'x', 'b': 'y'}.transformMapEntry(k, v, k != 'a', {v: k})", json!({"y": "b"})),
        ("[[1]].transformList(i, v, v.transformList(j, w, [i, j, w]))", json!([[[0, 0, 1]]])),
        // With one variable and a condition that is a name.
        ("[true].map(x, x, x)", json!([true])),
    ]);
}
