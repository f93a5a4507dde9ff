use std::sync::Arc;

use pangaea_kernel::Module;
use serde_json::{Value, json};

/// The OpenAPI 3.1 document of some modules' routes.
pub fn api_document(modules: &[Arc<dyn Module>]) -> Value {
    let mut document = utoipa::openapi::OpenApi::default();
    for module in modules {
        document.merge(module.routes().into_openapi());
    }
    let mut value = serde_json::to_value(&document).unwrap_or_default();
    value["info"] = json!({
        "title": "Pangaea",
        "version": crate::CODE_VERSION,
        "description": "An online store whose modules run in one process or apart, by configuration alone.",
        "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
    });
    value["components"]["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" }
    });
    require_tokens(&mut value);
    value
}

/// What `x-access` says for the host, `security` says for everybody else.
fn require_tokens(document: &mut Value) {
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return };
    for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(|item| item.values_mut()) {
        let Some(access) = operation.get("x-access") else { continue };
        let anonymous = access.get("anonymous").and_then(Value::as_bool).unwrap_or(false);
        let scopes = access.get("roles").cloned().unwrap_or_else(|| json!([]));
        operation["security"] =
            if anonymous { json!([{}, { "bearer": scopes }]) } else { json!([{ "bearer": scopes }]) };
    }
}
