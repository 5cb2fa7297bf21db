//! What is refused before there is an event.

use super::*;

#[test]
fn mistakes_are_found_before_there_is_an_event() {
    for (source, sentence) in [
        ("", "line 1, column 1: it is empty"),
        ("  // nothing", "it is empty"),
        ("1 +", "line 1, column 4: expected a value, found the end"),
        (
            "payload.amount > 1 &&\n  evnt.type == 'x'",
            "line 2, column 3: unknown variable `evnt`; known: event, headers, payload",
        ),
        (
            "event.kind == 'x'",
            "line 1, column 7: event has no field `kind`; it has id, type, time, endpoint, namespace",
        ),
        ("lower(event.type)", "line 1, column 1: unknown function `lower`"),
        ("event.type.startsWith()", "wrong arguments for `startsWith`; use string.startsWith(string)"),
        ("startsWith('a', 'b')", "use string.startsWith(string)"),
        ("event.type.size(1)", "size(string)"),
        ("event.type == 1", "line 1, column 12: `==` is not defined for string and int"),
        ("event.type + 1", "`+` is not defined for string and int; string(…) makes a string of it"),
        ("1 + 1.5", "`+` is not defined for int and double; double(…), int(…) and uint(…) convert"),
        ("event.type && true", "`&&` requires a bool, not a string"),
        ("!event.id", "`!` requires a bool"),
        ("event.type ? 1 : 2", "`?` requires a bool"),
        ("headers['a'] > 1", "`>` is not defined for string and int"),
        ("headers[1]", "has no element at an int"),
        ("event.type in 'abc'", "`in` is not defined for string and string"),
        ("payload in 'abc'", "`in` requires a list or a map"),
        ("event.type.exists(x, true)", "a string cannot be iterated"),
        ("payload.map(1, 2)", "map takes a variable name"),
        ("payload.all(x, 1)", "requires a bool"),
        ("has(payload)", "has() takes a field"),
        ("has(payload['a'])", "has() takes a field"),
        ("event.time + event.time", "`+` is not defined for timestamp and timestamp"),
        ("event.id.x", "a string has no field `x`"),
        ("{1.5: 2}", "a double cannot be the key of a map"),
        ("-'a'", "a string cannot be negated"),
        ("-duration('1s')", "a duration cannot be negated"),
        ("[?1]", "expected an optional value, found an int"),
        ("{?'a': 1}", "expected an optional value, found an int"),
        ("'a'.optMap(x, x)", "expected an optional value, found a string"),
        ("optional.of(1).optMap(1, 2)", "optMap takes a variable name"),
        ("[1].transformList(x, 1)", "transformList takes two variable names"),
        ("[1].exists(x, x, true)", "both variables of exists are called `x`"),
        ("[1].map(x, y, x)", "unknown variable `y`"),
        ("[1].transformMapEntry(k, v, v + 1 == 2)", "transformMapEntry requires a map of entries"),
        ("payload.`a b`()", "expected a field name"),
        ("payload.`a$`", "a name in backticks has letters"),
        ("`a`", "expected a value, found `a`"),
        ("math.greatest()", "wrong arguments for `math.greatest`"),
        ("math.ceil(1)", "`math.ceil` cannot be called with int"),
        ("'a'.format('b')", "`format` cannot be called with string, string"),
        ("event.type.matches('(')", "line 1, column 20: not RE2 syntax: the group is not closed"),
        ("event.type.matches('(a{1000}){1000}')", "line 1, column 20: too large: "),
        ("payload.a = 1", "line 1, column 11: `=` is not an operator; use `==`"),
        ("true and false", "line 1, column 6: `and` is not an operator; use `&&`"),
        ("(true) or false", "`or` is not an operator; use `||`"),
        ("true & false", "`&` is not an operator; use `&&`"),
        ("'abc", "line 1, column 1: unterminated string"),
        ("'a\nb'", "triple quotes"),
        (r"'\q'", "line 1, column 2: this escape is not known"),
        (r"'\ud800'", "this escape is not known"),
        ("9223372036854775808", "this number is too large"),
        ("99999999999999999999", "this number is too large"),
        ("1x", "followed by a letter"),
        ("1e", "digits must follow"),
        ("0x", "hexadecimal digits"),
        ("payload.", "expected a field name, found the end"),
        ("payload.1", "is not allowed here"),
        ("[1, 2", "expected `]`, found the end"),
        ("f{a: 1}", "unknown variable `f`"),
        ("for", "`for` is a reserved word"),
        ("1 2", "`2` is not allowed here"),
        ("payload # 1", "line 1, column 9: `#` is not allowed here"),
        ("é", r"`\u{e9}` is not allowed here"),
        ("\u{feff}1", "is not allowed here"),
    ] {
        let error = Expression::compile(source, Scope::Delivery, ExpectedType::Json).unwrap_err().to_string();
        assert!(error.contains(sentence), "{source}: {error}");
    }
}

#[test]
fn scopes_and_results_are_checked() {
    let compile = |source, scope, gives| Expression::compile(source, scope, gives).map_err(|error| error.to_string());
    assert!(compile("event.id", Scope::Request, ExpectedType::Text).unwrap_err().contains("known: headers, payload"));
    assert!(compile("payload.a", Scope::Claims, ExpectedType::Bool).unwrap_err().contains("known: claims"));
    assert!(compile("claims.sub == 'x'", Scope::Claims, ExpectedType::Bool).is_ok());
    assert!(compile("payload.a", Scope::Delivery, ExpectedType::Bool).is_ok());
    assert_eq!(
        compile("1 + 1", Scope::Delivery, ExpectedType::Bool).unwrap_err(),
        "line 1, column 1: it returns an int; a bool is required"
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
fn headers_with_capitals_are_noticed_wherever_they_are_looked_up() {
    let capital = |source| {
        let expression = Expression::compile(source, Scope::Delivery, ExpectedType::Json).unwrap();
        expression.capital_header().map(str::to_owned)
    };
    for source in [
        "headers['X-Kind'] == 'a'",
        "headers[?'X-Kind'].orValue('')",
        "'X-Kind' in headers",
        "payload.a || headers['x-kind'] == headers['X-Kind']",
        "[1].map(x, headers['X-Kind'])",
    ] {
        assert_eq!(capital(source).as_deref(), Some("X-Kind"), "{source}");
    }
    assert_eq!(capital("has(headers.Kind)").as_deref(), Some("Kind"));
    assert_eq!(capital("headers.?Kind").as_deref(), Some("Kind"));
    for source in ["headers['x-kind'] == 'A'", "'X' in payload.headers", "payload.headers['X-Kind']", "'X' == 'Y'"] {
        assert_eq!(capital(source), None, "{source}");
    }
}
