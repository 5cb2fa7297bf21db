//! Bounds on time and memory.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::*;
use crate::limits::{EXPRESSION_BYTES, EXPRESSION_DEPTH};

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
        format!("{list}.transformList(i, v, {list}.transformMap(j, w, {list}.all(k, x, true)))"),
        format!("{list}.transformMapEntry(i, v, {{i: {list}, string(i): v}}).size()"),
        format!("{list}.all(i, v, math.greatest({list}) == 0)"),
        format!("{list}.all(i, v, {list}.all(j, w, '%.100f%.100e'.format([1e308, 1e-308]) != ''))"),
        format!("{list}.all(i, v, '%s'.format([{list}]) != '')"),
        format!("{list}.all(i, v, {list}.all(j, w, event.time.getHours('Europe/Berlin') >= 0))"),
        format!("{list}.all(i, v, '{text}'.split('').join().reverse() != '')"),
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
        assert!(error.message.contains("steps for one event"), "{source:.60}: {error}");
        assert!(began.elapsed() < Duration::from_secs(60), "{source:.60}");
    }
}

/// Whether an expression over a payload of its own ends within the steps allowed.
fn fits(source: &str, payload: &Json) -> bool {
    let expression = Expression::compile(source, Scope::Delivery, ExpectedType::Json).unwrap();
    match expression.json(&inputs(payload), TRANSFORM_BYTES) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.message.contains("steps for one event"), "{source:.60}: {error}");
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
        "payload.text.charAt(0) == '7'",
        "payload.text.reverse() != ''",
        "strings.quote(payload.text) != ''",
        "'%s'.format([payload.text]) != ''",
        "'%x'.format([payload.text]) != ''",
        "payload.text.format([]) != ''",
        "'%s'.format([[payload.text]]) != ''",
        "'%s'.format([{payload.text: 1}]) != ''",
        "payload.text.indexOf('x', 1) == -1",
        "payload.text.lastIndexOf('x', 1) == -1",
        "payload.text.replace('x', '', 1) != ''",
        "payload.text.split('x', 2).size() == 1",
        "[payload.text].transformMapEntry(i, v, {v: i}) == {payload.text: 0}",
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
