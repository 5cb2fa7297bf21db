use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::limits::{EXPRESSION_BYTES, EXPRESSION_DEPTH, TRANSFORM_BYTES};

fn document() -> Json {
    json!({
        "action": "opened",
        "amount": 12_050,
        "rate": 0.25,
        "huge": 18_446_744_073_709_551_615_u64,
        "paid": true,
        "nothing": null,
        "repository": { "full_name": "acme/shop", "topics": ["web", "rust"] },
        "lines": [
            { "sku": "a", "quantity": 2, "price": 1000 },
            { "sku": "b", "quantity": 1, "price": 10_050, "note": "gift" },
        ],
    })
}

fn inputs(document: &Json) -> Inputs<'_> {
    Inputs {
        event: Some(Event {
            id: "evt_1",
            kind: "invoice.paid",
            time: "2026-03-01T12:34:56.25Z".parse().unwrap(),
            endpoint: "stripe",
            namespace: "shop",
        }),
        headers: [("x-github-event", "push"), ("accept", "a, b"), ("x-odd", "caf\u{fffd}")]
            .map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)))
            .into(),
        payload: Payload::Json(Cow::Borrowed(document)),
        claims: None,
    }
}

fn evaluate(source: &str) -> Result<Json, String> {
    let expression = Expression::compile(source, Scope::Delivery, ExpectedType::Json)
        .map_err(|error| format!("compile: {error}"))?;
    let text = expression.json(&inputs(&document()), TRANSFORM_BYTES).map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&text).unwrap())
}

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

#[test]
fn mistakes_are_found_before_there_is_an_event() {
    for (source, sentence) in [
        ("", "line 1, column 1: it is empty"),
        ("  // nothing", "it is empty"),
        ("1 +", "line 1, column 4: a value must stand here, not the end"),
        (
            "payload.amount > 1 &&\n  evnt.type == 'x'",
            "line 2, column 3: there is no variable `evnt`; there are event, headers, payload",
        ),
        (
            "event.kind == 'x'",
            "line 1, column 7: event has no field `kind`; it has id, type, time, endpoint, namespace",
        ),
        ("lower(event.type)", "line 1, column 1: there is no function `lower`"),
        ("event.type.startsWith()", "`startsWith` is not called like this; it is string.startsWith(string)"),
        ("startsWith('a', 'b')", "it is string.startsWith(string)"),
        ("event.type.size(1)", "size(string)"),
        ("event.type == 1", "line 1, column 12: `==` does not go with string and int"),
        ("event.type + 1", "`+` does not go with string and int; string(…) makes a string of it"),
        ("1 + 1.5", "`+` does not go with int and double; double(…), int(…) and uint(…) convert"),
        ("event.type && true", "`&&` needs a bool, and this is a string"),
        ("!event.id", "`!` needs a bool"),
        ("event.type ? 1 : 2", "`?` needs a bool"),
        ("headers['a'] > 1", "`>` does not go with string and int"),
        ("headers[1]", "has no element at an int"),
        ("event.type in 'abc'", "`in` does not go with string and string"),
        ("payload in 'abc'", "`in` looks into lists and maps"),
        ("event.type.exists(x, true)", "a string has no elements"),
        ("payload.map(1, 2)", "map takes the name of a variable"),
        ("payload.all(x, 1)", "needs a bool"),
        ("has(payload)", "has() asks for a field"),
        ("has(payload['a'])", "has() asks for a field"),
        ("event.time + event.time", "`+` does not go with timestamp and timestamp"),
        ("event.id.x", "a string has no field `x`"),
        ("{1.5: 2}", "a double cannot be the key of a map"),
        ("-'a'", "a string has no negative"),
        ("event.type.matches('(')", "line 1, column 20: this is not a regular expression of RE2"),
        ("event.type.matches('(a{1000}){1000}')", "or it is too large"),
        ("payload.a = 1", "line 1, column 11: `=` is no operator; equality is written `==`"),
        ("true & false", "`&` is no operator; write `&&`"),
        ("'abc", "line 1, column 1: this string does not end"),
        ("'a\nb'", "three quotes"),
        (r"'\q'", "line 1, column 2: this escape is not known"),
        (r"'\ud800'", "this escape is not known"),
        ("9223372036854775808", "this number is too large"),
        ("99999999999999999999", "this number is too large"),
        ("1x", "followed by a letter"),
        ("1e", "digits must follow"),
        ("0x", "hexadecimal digits"),
        ("payload.", "the name of a field must stand here, not the end"),
        ("payload.1", "cannot stand here"),
        ("[1, 2", "`]` must stand here, not the end"),
        ("f{a: 1}", "there is no variable `f`"),
        ("for", "`for` is a reserved word"),
        ("1 2", "`2` cannot stand here"),
        ("payload # 1", "line 1, column 9: `#` cannot stand here"),
        ("é", r"`\u{e9}` cannot stand here"),
        ("\u{feff}1", "cannot stand here"),
    ] {
        let error = Expression::compile(source, Scope::Delivery, ExpectedType::Json).unwrap_err().to_string();
        assert!(error.contains(sentence), "{source}: {error}");
    }
}

#[test]
fn scopes_and_results_are_checked() {
    let compile = |source, scope, gives| Expression::compile(source, scope, gives).map_err(|error| error.to_string());
    assert!(
        compile("event.id", Scope::Request, ExpectedType::Text).unwrap_err().contains("there are headers, payload")
    );
    assert!(compile("payload.a", Scope::Claims, ExpectedType::Bool).unwrap_err().contains("there are claims"));
    assert!(compile("claims.sub == 'x'", Scope::Claims, ExpectedType::Bool).is_ok());
    assert!(compile("payload.a", Scope::Delivery, ExpectedType::Bool).is_ok());
    assert_eq!(
        compile("1 + 1", Scope::Delivery, ExpectedType::Bool).unwrap_err(),
        "line 1, column 1: it gives an int, and a bool is needed"
    );
    assert!(
        compile("{'a': 1}", Scope::Request, ExpectedType::Text).unwrap_err().contains("a string, an integer or a bool")
    );
    let uses = |source| {
        let expression = compile(source, Scope::Delivery, ExpectedType::Json).unwrap();
        (expression.uses_headers(), expression.uses_payload())
    };
    assert_eq!(uses("event.type == 'a'"), (false, false));
    assert_eq!(uses("[1].map(payload, payload)"), (false, false));
    assert_eq!(uses("headers.a == payload.a"), (true, true));
}

#[test]
fn failures_say_where_and_name_nothing_of_the_event() {
    for (source, sentence) in [
        ("payload.repository.owner.login == 'x'", "line 1, column 20: there is no key `owner`; has(…) asks"),
        ("payload.action.name", "line 1, column 16: a string has no field `name`"),
        ("payload.nothing.x", "a null_type has no field `x`"),
        ("payload.amount + payload.action", "`+` does not go with int and string"),
        ("payload.amount / 0", "nothing can be divided by zero"),
        ("payload.huge * 2u", "the result is out of range"),
        ("payload.lines[2].sku", "the list has no such index"),
        ("payload.lines[-1]", "the list has no such index"),
        ("payload[payload.action]", "there is no such key"),
        ("payload.action > 1", "`>` does not go with string and int"),
        ("payload.action.contains(payload.amount)", "`contains` cannot be called with string, int"),
        ("payload.action && true", "a bool is needed here, and this is a string"),
        ("payload.paid && payload.missing", "there is no key `missing`"),
        ("payload.amount.exists(x, true)", "an int has no elements"),
        ("int(payload.action)", "this is no integer"),
        ("timestamp(payload.action)", "timestamp() reads RFC 3339"),
        ("event.time.getHours(payload.action)", "time zones are UTC and offsets"),
        ("payload.action.substring(1, 99)", "outside of the string"),
        ("payload.action.matches(payload.action + '(')", "this is not a regular expression"),
        ("[payload.amount].join()", "join() joins strings"),
        ("{payload.action: 1, 'opened': 2}", "the map has this key already"),
        ("0.0 / 0.0", "infinite or none"),
        ("payload.?other.value()", "the optional value holds nothing"),
        ("optional.of(payload)", ""),
    ] {
        match evaluate(source) {
            Ok(_) => assert_eq!(sentence, "", "{source}"),
            Err(error) => {
                assert!(error.contains(sentence) && !sentence.is_empty(), "{source}: {error}");
                assert!(!error.contains("12050") && !error.contains("opened"), "{source}: {error}");
            }
        }
    }
}

#[test]
fn only_what_is_wanted_is_given() {
    let document = document();
    let inputs = inputs(&document);
    let expression = |source, gives| Expression::compile(source, Scope::Delivery, gives).unwrap();
    assert_eq!(expression("payload.paid", ExpectedType::Bool).test(&inputs), Ok(true));
    let error = expression("payload.amount", ExpectedType::Bool).test(&inputs).unwrap_err();
    assert_eq!(error.to_string(), "line 1, column 1: it gives an int, and a bool is needed");
    assert_eq!(expression("payload.amount", ExpectedType::Text).text(&inputs).unwrap(), "12050");
    assert_eq!(expression("payload.action", ExpectedType::Text).text(&inputs).unwrap(), "opened");
    assert!(expression("payload.lines", ExpectedType::Text).text(&inputs).is_err());
    let error = expression("payload", ExpectedType::Json).json(&inputs, 10).unwrap_err();
    assert!(error.message.contains("more than the 10 bytes"), "{error}");
}

#[test]
fn payloads_that_are_no_json_are_text_or_bytes() {
    let of = |payload, source| {
        let inputs = Inputs { payload, ..Inputs::default() };
        Expression::compile(source, Scope::Request, ExpectedType::Text).unwrap().text(&inputs).unwrap()
    };
    assert_eq!(of(Payload::Nothing, "payload == null"), "true");
    assert_eq!(of(Payload::Text("a b".into()), "payload.split(' ')[1]"), "b");
    assert_eq!(of(Payload::Bytes(b"\xff\xfe"[..].into()), "size(payload)"), "2");
}

#[test]
fn claims_are_a_map() {
    let claims = json!({ "sub": "repo:acme/shop:ref:refs/heads/main", "aud": ["grapnel"], "n": 1 });
    let test = |source| {
        let expression = Expression::compile(source, Scope::Claims, ExpectedType::Bool).unwrap();
        expression.test(&Inputs { claims: Some(&claims), ..Inputs::default() })
    };
    assert_eq!(test("claims.sub.startsWith('repo:acme/') && 'grapnel' in claims.aud"), Ok(true));
    assert_eq!(test("has(claims.email) && claims.email_verified"), Ok(false));
    assert!(test("claims.email_verified").is_err());
}

#[test]
fn expressions_are_bounded() {
    let compile = |source: String| Expression::compile(&source, Scope::Delivery, ExpectedType::Json);
    assert!(compile("1".repeat(EXPRESSION_BYTES + 1)).unwrap_err().message.contains("bytes"));
    let parts = EXPRESSION_BYTES / 2;
    let many = |part: &str| part.repeat(parts / part.len());
    for deep in [
        many("("),
        many("["),
        many("{1:"),
        many("[") + &many("]"),
        "(".repeat(EXPRESSION_DEPTH) + "1" + &")".repeat(EXPRESSION_DEPTH),
        "payload".to_owned() + &many(".a"),
        "payload".to_owned() + &many("[0]"),
        "payload".to_owned() + &many(".size()"),
        many("true ? 1 : ") + "2",
        many("payload.map(x, ") + "1" + &many(")"),
        "1".to_owned() + &many(" == 1"),
    ] {
        let error = compile(deep).unwrap_err();
        assert!(error.message.contains("nested more than") || error.message.contains("must stand"), "{error}");
    }
    // Chains are no nesting.
    for chain in [many("1 + ") + "1", many("true && ") + "true", many("false || ") + "true", many("!") + "true"] {
        let expression = compile(chain).unwrap();
        assert!(expression.json(&inputs(&document()), 100).is_ok());
    }
    // As deep as it may be, each level by its most costly part: it has to fit onto the stack of a thread.
    let most = EXPRESSION_DEPTH - 4;
    for (level, inner, close, levels) in [
        ("[payload].map(x, true, ", "payload", ")", most),
        ("[1].all(x, true || ", "true", ")", most / 2),
        ("(true ? ", "payload", " : false)", most),
        ("{1: ", "payload", "}", most),
        ("optional.of(", "payload", ").value()", most / 2),
    ] {
        let expression = compile(level.repeat(levels) + inner + &close.repeat(levels)).unwrap();
        let nested = expression.json(&inputs(&document()), TRANSFORM_BYTES);
        assert!(nested.is_ok(), "{level}: {nested:?}");
    }
    let near = "[".repeat(EXPRESSION_DEPTH - 1) + &"]".repeat(EXPRESSION_DEPTH - 1);
    assert_eq!(compile(near.clone()).unwrap().json(&inputs(&document()), 1000).unwrap(), near.into_bytes());
}

/// Whatever an expression does, it ends soon: the bound is on steps, the time here is only there to fail rather than hang.
#[test]
fn evaluations_are_bounded() {
    let list = format!("[{}]", "0,".repeat(1000));
    let text = "x".repeat(1000);
    let mut doubled = format!("'{text}'");
    for _ in 0..30 {
        doubled = format!("[{doubled}].map(s, s + s)[0]");
    }
    let long = format!("'{text}'.split('').map(a, '{text}').join()");
    for source in [
        format!("{list}.map(a, {list}.map(b, {list}.map(c, a)))"),
        format!("{list}.all(a, {list}.all(b, {list}.all(c, true)))"),
        format!("{list}.exists(a, {list}.exists(b, {list}.exists(c, false))) || true"),
        format!("{list}.map(a, {list}) == {list}.map(a, {list}) && {list}.all(a, {list} == {list})"),
        doubled,
        format!("'{text}'.replace('', '{text}').replace('', '{text}').size()"),
        format!("{long}.replace('x', '{text}')"),
        format!("{list}.map(a, {long}).size()"),
        format!("'{text}'.split('').all(c, !{long}.matches('(x*)*y'))"),
        format!("{list}.all(a, !'x'.matches('x{{1,999}}' + string(a)))"),
        format!("{list}.all(a, {list}.all(b, '{text}' == '{text}'))"),
    ] {
        let expression = Expression::compile(&source, Scope::Delivery, ExpectedType::Json).unwrap();
        let began = Instant::now();
        let error = expression.json(&inputs(&document()), TRANSFORM_BYTES).unwrap_err();
        assert!(error.message.contains("steps allowed"), "{source:.60}: {error}");
        assert!(began.elapsed() < Duration::from_secs(60), "{source:.60}");
    }
}

/// Whether an expression over a payload of its own ends within the steps allowed.
fn fits(source: &str, payload: &Json) -> bool {
    let expression = Expression::compile(source, Scope::Delivery, ExpectedType::Json).unwrap();
    match expression.json(&inputs(payload), TRANSFORM_BYTES) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.message.contains("steps allowed"), "{source:.60}: {error}");
            false
        }
    }
}

#[test]
fn patterns_are_paid_for_by_their_compiled_size() {
    let slow = "[ax]{0,400}([ax]{0,40}x){0,9}[0-9][0-9]";
    let payload = json!({
        "text": "xa".repeat(10_000),
        "short": "xa".repeat(50),
        "slow": slow,
        "message": "fix: the cart is empty after a reload, closes #1234\n".repeat(100),
        "patterns": vec!["^release/.*$"; 30],
        "large": vec!["[ax]{0,400}"; 30],
    });
    assert!(!fits(&format!("payload.text.matches('{slow}')"), &payload));
    assert!(!fits("payload.text.matches(payload.slow)", &payload));
    assert!(fits(&format!("payload.short.matches('{slow}')"), &payload));
    assert!(fits("payload.short.matches(payload.slow)", &payload));
    assert!(fits(
        "payload.message.matches('(?i)(close[sd]?|fix(es|ed)?) #[0-9]+$') && payload.message.contains('#')",
        &payload
    ));
    assert!(fits(r"payload.message.matches(r'closes #\d+')", &payload));
    // So is compiling them.
    assert!(fits("payload.patterns.exists(pattern, 'release/1'.matches(pattern))", &payload));
    assert!(!fits("payload.large.all(pattern, 'x'.matches(pattern))", &payload));
}

/// Every part costs a step, which buys some hundred rounds of each; what they look at is 64 KiB, which buys few.
#[test]
fn long_texts_are_paid_for_wherever_they_are_looked_at() {
    let long = "7".repeat(64 * 1024);
    let payload = |text: &str| {
        json!({
            "text": text,
            "number": format!("0.{text}"),
            "map": { text: 1 },
            "other": { text: 1 },
            "rounds": vec![0; 1000],
            "time": "2026-03-01T12:34:56Z",
        })
    };
    for body in [
        "double(payload.number) > 0.0",
        "(int(payload.text) == 0 || true)",
        "(uint(payload.text) == 0u || true)",
        "(duration(payload.text) == duration('1s') || true)",
        "(timestamp(payload.text) == timestamp(payload.time) || true)",
        "(timestamp(payload.time).getHours(payload.text) == 0 || true)",
        "payload.map[payload.text] == 1",
        "payload.map[?payload.text].hasValue()",
        "payload.text in payload.map",
        "!(payload.text in headers)",
        "payload.map == payload.other",
        "{payload.text: 1}[payload.text] == 1",
        "payload.text == payload.text",
        "payload.text <= payload.text",
        "payload.text in [payload.text]",
        "[payload.text] == [payload.text]",
        "{payload.text: 1, payload.text + '1': 2}.size() == 2",
        "!'x'.contains(payload.text)",
        "'x'.indexOf(payload.text) == -1",
        "'x'.lastIndexOf(payload.text) == -1",
        "'x'.replace(payload.text, '') == 'x'",
        "'x'.split(payload.text).size() == 1",
        "payload.text.startsWith(payload.text)",
        "payload.text.endsWith(payload.text)",
        "payload.text.size() > 0",
        "payload.text.substring(0, 1) == '7'",
        "payload.text.trim() != ''",
        "payload.text.lowerAscii() != ''",
        "payload.text + payload.text != ''",
        "[payload.text, payload.text].join() != ''",
        "string(bytes(payload.text)) != ''",
        "bytes(payload.text) == bytes(payload.text)",
        "base64.encode(bytes(payload.text)) != ''",
    ] {
        let source = format!("payload.rounds.all(round, {body})");
        assert!(!fits(&source, &payload(&long)), "{body}");
        assert!(fits(&source, &payload("7")), "{body}");
    }
    let name = "a".repeat(8 * 1024);
    let many = json!({ "rounds": vec![0; 2000], "map": { &name: 1 } });
    assert!(!fits(&format!("payload.rounds.all(round, payload.map.{name} == 1)"), &many));
    assert!(!fits(&format!("payload.rounds.all(round, has(payload.map.{name}))"), &many));
    let digits = json!({ "rounds": vec![0; 50_000], "huge": 1e308 });
    assert!(!fits("payload.rounds.all(round, string(payload.huge) != '')", &digits));
}

/// Values of the other implementation as JSON, where both agree on what that is.
fn other(value: &cel::Value) -> Option<Json> {
    use cel::Value as Other;
    Some(match value {
        Other::Null => Json::Null,
        Other::Bool(flag) => json!(flag),
        Other::Int(number) => json!(number),
        Other::UInt(number) => json!(number),
        Other::Float(number) => json!(number),
        Other::String(text) => json!(&**text),
        Other::List(elements) => Json::Array(elements.iter().map(other).collect::<Option<_>>()?),
        Other::Map(map) => {
            let entry = |(key, value): (&cel::objects::Key, &cel::Value)| match key {
                cel::objects::Key::String(key) => Some((key.to_string(), other(value)?)),
                _ => None,
            };
            Json::Object(map.map.iter().map(entry).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("payload.amount".to_owned()),
        Just("payload.action".to_owned()),
        Just("payload.rate".to_owned()),
        Just("payload.paid".to_owned()),
        Just("payload.lines".to_owned()),
        Just("payload.missing".to_owned()),
        Just("payload.repository.full_name".to_owned()),
        Just("null".to_owned()),
        (-3i64..4).prop_map(|number| number.to_string()),
        Just("2u".to_owned()),
        Just("1.5".to_owned()),
        Just("'opened'".to_owned()),
        Just("''".to_owned()),
        Just("[1, 2]".to_owned()),
        Just("{'a': 1}".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), "(\\+|-|\\*|/|%|==|!=|<|<=|>|>=|&&|\\|\\|| in )", inner.clone())
                .prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), "(size|string|int|double)").prop_map(|(a, name)| format!("{name}({a})")),
            (inner.clone(), "(contains|startsWith|endsWith)", inner.clone())
                .prop_map(|(a, name, b)| format!("{a}.{name}({b})")),
            (inner.clone(), "(map|filter|all|exists|exists_one)", inner.clone())
                .prop_map(|(a, name, b)| format!("{a}.{name}(x, {b})")),
            // The other one reads two signs in a row as one.
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("[{a}, {b}]")),
        ]
    })
}

proptest! {
    /// Where both give a value, it is the same. They differ in what they refuse: types are checked here beforehand.
    #[test]
    fn agrees_with_another_implementation(source in expressions()) {
        let document = document();
        let Ok(expression) = Expression::compile(&source, Scope::Request, ExpectedType::Json) else { return Ok(()) };
        let Ok(ours) = expression.json(&inputs(&document), TRANSFORM_BYTES) else { return Ok(()) };
        let mut context = cel::Context::default();
        context.add_variable("payload", &document).unwrap();
        let Ok(theirs) = cel::Program::compile(&source).unwrap().execute(&context) else { return Ok(()) };
        if let Some(theirs) = other(&theirs) {
            let ours: Json = serde_json::from_slice(&ours).unwrap();
            prop_assert_eq!(ours, theirs, "{}", source);
        }
    }

    #[test]
    fn no_text_panics(source in r#"([a-z.?\[\](){}'"\\+\-*/%=!<>&|, 0-9ebru:]|payload|event|\.map\(x, |has\(|é){0,40}"#) {
        if let Ok(expression) = Expression::compile(&source, Scope::Delivery, ExpectedType::Json) {
            let _ = expression.json(&inputs(&document()), 1000);
        }
    }

    #[test]
    fn times_and_spans_never_panic(seconds in any::<i64>(), span in "-?[0-9]{1,19}(h|m|s|ns)", part in 0usize..10) {
        const PARTS: [&str; 10] = ["getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate",
            "getDayOfWeek", "getHours", "getMinutes", "getSeconds", "getMilliseconds"];
        let source = format!("(timestamp({seconds} / 40000000) - duration('{span}')).{}('-23:59') > 0", PARTS[part]);
        if let Ok(expression) = Expression::compile(&source, Scope::Delivery, ExpectedType::Bool) {
            let _ = expression.test(&Inputs::default());
        }
    }
}
