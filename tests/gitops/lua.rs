//! Runs the scripts for Argo CD as it does: Lua 5.1 with the base library and `table`, and `date` and `time` of `os`.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// The time that scripts see: 2026-01-31T12:00:00Z.
const NOW: u32 = 1_769_860_800;

/// Runs SOURCE on OBJECT at NOW and prints the result as JSON. Strings have no methods there, as in Argo CD without the
/// open libraries.
const DRIVER: &str = r#"
local format, gsub, byte, concat, date = string.format, string.gsub, string.byte, table.concat, os.date
local function encode(value)
  if type(value) == "table" then
    local parts = {}
    if value[1] ~= nil then
      for _, item in ipairs(value) do parts[#parts + 1] = encode(item) end
      return "[" .. concat(parts, ",") .. "]"
    end
    for key, item in pairs(value) do parts[#parts + 1] = encode(tostring(key)) .. ":" .. encode(item) end
    return "{" .. concat(parts, ",") .. "}"
  elseif type(value) == "string" then
    return '"' .. gsub(value, '[%c"\\]', function(c) return format("\\u%04x", byte(c)) end) .. '"'
  end
  return tostring(value)
end
local clock = {
  date = function(format, time) return date(format, time or NOW) end,
  time = function() return NOW end,
}
local environment = {
  obj = OBJECT, error = error, ipairs = ipairs, next = next, pairs = pairs, pcall = pcall, select = select, table = table,
  tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
  require = function(name) return name == "os" and clock or error("there is no module " .. name) end,
}
local chunk = setfenv(assert(loadstring(SOURCE, "=script")), environment)
debug.setmetatable("", nil)
io.write(encode(chunk()))
"#;

/// The directory of the scripts of a kind.
pub(crate) fn scripts(kind: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("manifests/argocd/resource_customizations/grapnel.dev").join(kind)
}

/// The result of a script for an object.
pub(crate) fn run(script: &Path, object: &Value) -> Value {
    let source = std::fs::read_to_string(script).unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let program = format!(
        "local NOW, SOURCE, OBJECT = {NOW}, {}, {}\n{DRIVER}",
        literal(&Value::String(source)),
        literal(object)
    );
    let mut lua = Command::new("lua5.1")
        .arg("-")
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("lua5.1 is needed (Debian: apt-get install lua5.1)");
    lua.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    let output = lua.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A value in Lua. Null is absent, as it is for Argo CD.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "nil".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => {
            text.bytes().fold("\"".to_owned(), |mut quoted, byte| {
                match byte {
                    b' '..=b'~' if byte != b'"' && byte != b'\\' => quoted.push(byte.into()),
                    _ => write!(quoted, "\\{byte:03}").unwrap(),
                }
                quoted
            }) + "\""
        }
        Value::Array(items) => format!("{{{}}}", items.iter().map(literal).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let pair = |(key, value): (&String, &Value)| {
                format!("[{}]={}", literal(&Value::String(key.clone())), literal(value))
            };
            format!("{{{}}}", fields.map(pair).collect::<Vec<_>>().join(","))
        }
    }
}
