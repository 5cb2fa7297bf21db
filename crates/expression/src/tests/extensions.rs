//! Extensions: strings, `format` and math. Cases that the conformance tests do not have.

use serde_json::json;

use super::*;

#[test]
fn functions_on_strings() {
    give(&[
        ("'añb🙂'.reverse() + 'añb'.charAt(1) + 'añb'.charAt(3)", json!("🙂bñañ")),
        ("'añbñ'.indexOf('ñ', 2)", json!(3)),
        ("'añbñ'.lastIndexOf('ñ', 2)", json!(1)),
        ("'añbñ'.lastIndexOf('', 4)", json!(4)),
        ("'abab'.lastIndexOf('é', 1)", json!(-1)),
        ("'aéb'.lastIndexOf('aé', 0)", json!(0)),
        ("'a-b-c'.replace('-', '+', 1) + 'a-b'.replace('-', '', 0)", json!("a+b-ca-b")),
        ("'abc'.replace('', '-', 2)", json!("-a-bc")),
        ("'a,b,c'.split(',', 2)", json!(["a", "b,c"])),
        ("'abc'.split('', 2)", json!(["a", "bc"])),
        ("''.split('') == [] && ''.split(',') == ['']", json!(true)),
        (r"'12.5Ki'.find('^[0-9.]+') + '|' + '12.5Ki'.find('[a-zA-Z]*$') + '|' + 'x'.find('y')", json!("12.5|Ki|")),
        ("'añbñc'.find('ñ.')", json!("ñb")),
        ("'ab'.find(payload.repository.full_name.substring(0, 1))", json!("a")),
        (r#"strings.quote('a"b\n')"#, json!(r#""a\"b\n""#)),
    ]);
}

#[test]
fn templates_are_formatted() {
    give(&[
        ("'%s has %d (%.1f%%)'.format(['a', 3, 12.34])", json!("a has 3 (12.3%)")),
        ("'%x %X %o %b'.format([-255, b'\\xff', 8u, -5])", json!("-ff FF 10 -101")),
        ("'%e'.format([0.000012])", json!("1.200000e-05")),
        ("'%s'.format([payload.repository])", json!("{full_name: acme/shop, topics: [web, rust]}")),
        ("'%s'.format([{}]) + '%s'.format([[]])", json!("{}[]")),
        ("'%s'.format([type(event.time)])", json!("google.protobuf.Timestamp")),
    ]);
}

#[test]
fn math_functions() {
    give(&[
        ("math.greatest(payload.amount, 1.5, 2u)", json!(12_050)),
        ("math.least(payload.lines.map(l, l.price))", json!(1000)),
        ("[math.ceil(1.2), math.floor(-1.2), math.round(2.5), math.trunc(-1.7)]", json!([2.0, -2.0, 3.0, -1.0])),
        ("[math.abs(-1), math.sign(-5), math.bitXor(5, 3), math.bitShiftRight(-1, 63)]", json!([1, -1, 6, 1])),
        ("math.isNaN(0.0 / 0.0) && math.isInf(1.0 / 0.0) && math.isFinite(1.0)", json!(true)),
    ]);
}
