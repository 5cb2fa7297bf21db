//! What expressions give.

use serde_json::{Value as Json, json};

use super::*;

/// Every case is by the language definition or by the documentation of cel-go's extensions.
#[test]
fn what_expressions_give() {
    for (source, expected) in [
        ("1 + 2 * 3 - 4 / 2 % 3", json!(5)),
        ("(1 + 2) * 3", json!(9)),
        ("-7 / 2", json!(-3)),
        ("-7 % 3", json!(-1)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("0x1F + 1", json!(32)),
        ("5u + 2u", json!(7)),
        ("1.5e2 + .5", json!(150.5)),
        ("10.0 / 4.0", json!(2.5)),
        ("1 == 1.0 && 1u == 1 && 1 < 1.5 && 2u > 1.5", json!(true)),
        ("9223372036854775807 == 9223372036854775808.0", json!(false)),
        ("0.0 / 0.0 == 0.0 / 0.0", json!(false)),
        ("dyn(1) == dyn('1')", json!(false)),
        ("'a' < 'b' && b'a' < b'b' && false < true", json!(true)),
        ("true || dyn(1) / 0 == 1", json!(true)),
        ("1 / 0 == 1 || true", json!(true)),
        ("1 / 0 == 1 && false", json!(false)),
        ("!!true", json!(true)),
        ("1 > 2 ? 'a' : 2 > 1 ? 'b' : 'c'", json!("b")),
        ("[1, 2] + [3] == [1, 2, 3]", json!(true)),
        ("{'a': 1, 'b': [2]} == {'b': [2], 'a': 1.0}", json!(true)),
        ("{'a': 1}['a'] + {2: 3}[2] + {true: 4}[true]", json!(8)),
        ("[1, 2, 3][1] + [1, 2][dyn(0.0)]", json!(3)),
        ("2 in [1, 2] && !('x' in {'y': 1}) && 'amount' in payload", json!(true)),
        (r#"'\u00e9\x41\101\n\\' + r'\n' + """a"b""" + 'c'"#, json!("éAA\n\\\\na\"bc")),
        ("b'\\xff\\000é'", json!("/wDDqQ==")),
        ("size('é🙂') + size([1]) + size({}) + 'ab'.size() + size(b'é')", json!(7)),
        ("// a remark\n1 // and another", json!(1)),
        // Bindings.
        (
            "event",
            json!({"id": "evt_1", "type": "invoice.paid", "time": "2026-03-01T12:34:56.25Z",
            "endpoint": "stripe", "namespace": "shop"}),
        ),
        ("event.namespace + '/' + event.endpoint", json!("shop/stripe")),
        ("event.type.startsWith('invoice.')", json!(true)),
        ("headers['x-github-event']", json!("push")),
        ("headers.accept", json!("a, b")),
        ("headers['x-odd'].size()", json!(4)),
        ("headers.exists(name, name == 'accept')", json!(true)),
        ("payload.amount > 10000 && payload.paid", json!(true)),
        ("payload.amount - 50", json!(12_000)),
        ("payload.rate * 2.0", json!(0.5)),
        ("double(payload.amount) / 100.0", json!(120.5)),
        ("payload.huge - 1u", json!(18_446_744_073_709_551_614_u64)),
        ("payload.repository.full_name.matches('^acme/[a-z]+$')", json!(true)),
        ("payload['repository']['topics'][1]", json!("rust")),
        ("has(payload.lines) && !has(payload.other)", json!(true)),
        ("payload.nothing == null && payload.amount != null", json!(true)),
        // Macros.
        ("payload.lines.all(line, line.quantity > 0)", json!(true)),
        ("payload.lines.exists(l, l.note == 'gift')", json!(true)),
        ("payload.lines.exists_one(l, has(l.note)) && payload.lines.existsOne(l, l.sku == 'a')", json!(true)),
        ("payload.lines.filter(l, l.quantity > 1).map(l, l.sku)", json!(["a"])),
        ("payload.lines.map(l, l.price > 5000, l.sku + '!')", json!(["b!"])),
        (
            "payload.lines.map(l, payload.repository.topics.map(t, l.sku + t))",
            json!([["aweb", "arust"], ["bweb", "brust"]]),
        ),
        ("{'b': 1, 'a': 2}.map(key, key)", json!(["b", "a"])),
        ("[1, 2].map(event, event * 2)", json!([2, 4])),
        ("[dyn(1), 'x'].exists(x, x > 0)", json!(true)),
        // Conversions.
        (
            "[string(1), string(2u), string(1.5), string(true), string(b'x'), string(event.time)]",
            json!(["1", "2", "1.5", "true", "x", "2026-03-01T12:34:56.25Z"]),
        ),
        ("int('-5') + int(2.9) + int(3u) + int(timestamp('1970-01-01T00:01:00Z'))", json!(60)),
        ("[uint(1), uint('2'), uint(3.7)]", json!([1, 2, 3])),
        ("[double(1), double('1e3')]", json!([1.0, 1000.0])),
        ("bool('true') && string(bytes('é')) == 'é'", json!(true)),
        ("type(1) == int && type('') == string && type(null) == null_type && type([]) == list", json!(true)),
        ("type(type(1)) == type && type(event.time) != type(duration('1s'))", json!(true)),
        // Time.
        ("event.time > timestamp('2026-03-01T00:00:00Z')", json!(true)),
        ("event.time - timestamp('2026-03-01T12:00:00Z')", json!("2096.25s")),
        ("event.time + duration('1h30m')", json!("2026-03-01T14:04:56.25Z")),
        ("[duration('-90s'), duration('1h') - duration('1ms')]", json!(["-90s", "3599.999s"])),
        (
            "[event.time.getFullYear(), event.time.getMonth(), event.time.getDate(), event.time.getDayOfMonth()]",
            json!([2026, 2, 1, 0]),
        ),
        (
            "[event.time.getDayOfWeek(), event.time.getDayOfYear(), event.time.getHours('+02:30'), event.time.getMinutes('-00:34')]",
            json!([0, 59, 15, 0]),
        ),
        (
            "[duration('3730s').getHours(), duration('3730s').getMinutes(), duration('1.5s').getMilliseconds()]",
            json!([1, 62, 500]),
        ),
        // Extensions.
        ("'AbC'.lowerAscii() + 'abc'.upperAscii() + '  x '.trim()", json!("abcABCx")),
        ("'a-b-c'.replace('-', '+') + ' ' + 'a,b'.split(',').join('|') + ['x', 'y'].join()", json!("a+b+c a|bxy")),
        ("'é🙂'.split('')", json!(["é", "🙂"])),
        ("'tacocat'.substring(4) + 'tacocat'.substring(0, 4)", json!("cattaco")),
        ("['éa'.indexOf('a'), 'a'.indexOf('b'), 'aba'.lastIndexOf('a')]", json!([1, -1, 2])),
        ("base64.encode(b'hello') + string(base64.decode('aGVsbG8'))", json!("aGVsbG8=hello")),
        ("payload.?other.orValue('none') + payload.?action.orValue('none')", json!("noneopened")),
        ("payload.?repository.?owner.?login.orValue('nobody')", json!("nobody")),
        ("payload.lines[?5].hasValue() || payload[?'action'].value() != 'opened'", json!(false)),
        ("optional.none().or(optional.of(1)).value()", json!(1)),
        ("{'a': payload.?other, 'b': payload.?action}", json!({"a": null, "b": "opened"})),
    ] {
        assert_eq!(evaluate(source), Ok(expected), "{source}");
    }
}

#[test]
fn the_order_of_keys_is_kept() {
    let expression =
        Expression::compile("{'z': payload, 'a': 1, 'm': {'y': 1, 'b': 2}}", Scope::Delivery, ExpectedType::Json)
            .unwrap();
    let document: Json = serde_json::from_str(r#"{"q":1,"c":2}"#).unwrap();
    let text = expression.json(&inputs(&document), TRANSFORM_BYTES).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), r#"{"z":{"q":1,"c":2},"a":1,"m":{"y":1,"b":2}}"#);
}
