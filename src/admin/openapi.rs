//! The OpenAPI 3.1 document of the admin server, generated from its [contract](super::contract).
//!
//! It is the same for every caller and names no object, so that it needs no authentication.

use std::sync::{Arc, LazyLock};

use axum::{
    extract::State,
    http::{Uri, header},
    response::{IntoResponse, Response},
};
use schemars::{
    SchemaGenerator,
    generate::{Contract, SchemaSettings},
};
use serde_json::{Map, Value, json};

use super::{
    Shared,
    contract::{ErrorBody, Operation, QueryParameter, Success},
    query::Query,
    response::Problem,
};

/// Where the document has its schemas.
const SCHEMAS: &str = "/components/schemas";

/// The document as served, in one line.
static SERVED: LazyLock<String> = LazyLock::new(|| document().to_string());

/// `GET /api/v1/openapi.json`
pub(super) async fn show(State(_): State<Arc<Shared>>, uri: Uri) -> Result<Response, Problem> {
    Query::parse(&uri, Operation::OpenApi)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], SERVED.as_str()).into_response())
}

/// The document.
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths: Map<String, Value> = Map::new();
    for operation in Operation::ALL {
        if let Some(path) = paths.entry(operation.path()).or_insert_with(|| json!({})).as_object_mut() {
            path.insert(operation.method().as_str().to_ascii_lowercase(), schemas.operation(operation));
        }
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Grapnel admin API",
            "description": "Objects, events and deliveries of a running operator, with health and metrics.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:9090", "description": "The default address in standalone mode" }],
        "paths": paths,
        "components": {
            "schemas": schemas.take(),
            "securitySchemes": { "bearerToken": {
                "type": "http",
                "scheme": "bearer",
                "description": "In a cluster: a token for its API server, whose user RBAC allows the request. In \
                                standalone mode: the token of --admin-token-file; without that flag, programs on the \
                                same machine need none.",
            } },
        },
    });
    tidy(&mut document);
    document
}

/// Makes descriptions one line, and removes `null` from the types of optional fields: they are absent, never null.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            without_null(fields);
            fields.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

fn without_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [name] = &**types {
            let name = name.clone();
            schema.insert("type".into(), name);
        }
    }
    if let Some(Value::Array(members)) = schema.get("anyOf")
        && let [Value::Object(member), null] = &**members
        && null["type"] == "null"
    {
        let member = member.clone();
        schema.remove("anyOf");
        schema.extend(member);
    }
}

/// Collects the schemas of the document. What a server reads and what it writes differ in the fields that are required.
struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = |contract| {
            let mut settings = SchemaSettings::draft2020_12();
            settings.definitions_path = SCHEMAS.into();
            settings.contract = contract;
            settings.into_generator()
        };
        Self { read: settings(Contract::Deserialize), written: settings(Contract::Serialize) }
    }

    fn operation(&mut self, operation: Operation) -> Value {
        let mut value = Map::from_iter([
            ("operationId".to_owned(), operation.id().into()),
            ("summary".to_owned(), operation.about().into()),
            ("parameters".to_owned(), self.parameters(operation).into()),
        ]);
        if let Some(schema) = operation.body() {
            let schema = schema(&mut self.read);
            let required = operation != Operation::Resume;
            let body = json!({ "required": required, "content": { "application/json": { "schema": schema } } });
            value.insert("requestBody".to_owned(), body);
        }
        value.insert("responses".to_owned(), self.responses(operation));
        if operation.is_guarded() {
            value.insert("security".to_owned(), json!([{ "bearerToken": [] }, {}]));
        }
        value.into()
    }

    fn parameters(&mut self, operation: Operation) -> Vec<Value> {
        let in_path = operation.path().split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let in_path = in_path.map(|name| {
            let schema = json!({ "type": "string", "minLength": 1 });
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        });
        let in_query = operation.query().iter().map(|QueryParameter { name, about, schema }| {
            json!({ "name": name, "in": "query", "description": about, "schema": schema(&mut self.read) })
        });
        in_path.chain(in_query).collect()
    }

    fn responses(&mut self, operation: Operation) -> Value {
        let mut responses = Map::new();
        let ok = match operation.success() {
            Success::Json(schema) => json!({ "application/json": { "schema": schema(&mut self.written) } }),
            Success::Text(media_type) => json!({ media_type: { "schema": { "type": "string" } } }),
        };
        responses.insert("200".into(), json!({ "description": "OK", "content": ok }));
        let error = self.written.subschema_for::<ErrorBody>();
        for code in operation.errors() {
            let content = match operation {
                Operation::Live | Operation::Ready => json!({ "text/plain": { "schema": { "type": "string" } } }),
                _ => json!({ "application/json": { "schema": error } }),
            };
            let response = json!({ "description": code.about(), "content": content });
            responses.insert(code.status().as_str().to_owned(), response);
        }
        responses.into()
    }

    /// All schemas by name, sorted. Types that are both read and written have the same schema in both directions.
    fn take(&mut self) -> Map<String, Value> {
        let mut all = self.written.take_definitions(true);
        all.extend(self.read.take_definitions(true));
        all.sort_keys();
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every `$ref` below a value.
    fn references(value: &Value) -> BTreeSet<&str> {
        match value {
            Value::Array(items) => items.iter().flat_map(references).collect(),
            Value::Object(fields) => {
                let own = fields.get("$ref").and_then(Value::as_str);
                fields.values().flat_map(references).chain(own).collect()
            }
            _ => BTreeSet::new(),
        }
    }

    #[test]
    fn references_lead_to_schemas_and_every_schema_is_used() {
        let document = document();
        let references = references(&document);
        assert!(references.len() > 10, "{references:?}");
        for reference in &references {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(references.contains(&*format!("#{SCHEMAS}/{name}")), "{name}");
        }
    }

    #[test]
    fn optional_fields_are_never_null() {
        let document = document();
        let page = &document["components"]["schemas"]["PageOfObject"];
        assert_eq!(page["properties"]["continue"]["type"], "string");
        assert_eq!(page["required"], json!(["items"]));
        let failure = &document["components"]["schemas"]["Delivery"]["properties"]["lastFailure"];
        assert_eq!(failure["$ref"], "#/components/schemas/AttemptFailure");
        assert!(failure["description"].is_string());
    }
}
