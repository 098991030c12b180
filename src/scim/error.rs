//! The SCIM error message (RFC 7644 §3.12) and its constructors. What HTTP does with it lives in the gateway.

use serde_json::{Value, json};

/// An error as SCIM answers it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", .detail, .scim_type.map(|t| format!(" ({t})")).unwrap_or_default())]
pub struct ScimError {
    /// The HTTP status.
    pub status: u16,
    /// The detail error keyword of RFC 7644 Table 9.
    pub scim_type: Option<&'static str>,
    /// What went wrong and what would be right, for people.
    pub detail: String,
}

impl ScimError {
    /// An error with a status alone.
    pub fn new(status: u16, detail: impl Into<String>) -> ScimError {
        ScimError {
            status,
            scim_type: None,
            detail: detail.into(),
        }
    }

    fn typed(status: u16, scim_type: &'static str, detail: impl Into<String>) -> ScimError {
        ScimError {
            status,
            scim_type: Some(scim_type),
            detail: detail.into(),
        }
    }

    /// 400 `invalidFilter`.
    pub fn invalid_filter(detail: impl Into<String>) -> ScimError {
        ScimError::typed(400, "invalidFilter", detail)
    }

    /// 400 `invalidPath`.
    pub fn invalid_path(detail: impl Into<String>) -> ScimError {
        ScimError::typed(400, "invalidPath", detail)
    }

    /// 400 `noTarget`.
    pub fn no_target(detail: impl Into<String>) -> ScimError {
        ScimError::typed(400, "noTarget", detail)
    }

    /// 400 `invalidSyntax`.
    pub fn invalid_syntax(detail: impl Into<String>) -> ScimError {
        ScimError::typed(400, "invalidSyntax", detail)
    }

    /// 400 `invalidValue`.
    pub fn invalid_value(detail: impl Into<String>) -> ScimError {
        ScimError::typed(400, "invalidValue", detail)
    }

    /// 400 `mutability`.
    pub fn mutability(detail: impl Into<String>) -> ScimError {
        ScimError::typed(400, "mutability", detail)
    }

    /// 400 `tooMany`.
    pub fn too_many(detail: impl Into<String>) -> ScimError {
        ScimError::typed(400, "tooMany", detail)
    }

    /// 400 `invalidCursor` (RFC 9865 §2.1).
    pub fn invalid_cursor(detail: impl Into<String>) -> ScimError {
        ScimError::typed(400, "invalidCursor", detail)
    }

    /// 400 `expiredCursor` (RFC 9865 §2.1).
    pub fn expired_cursor(detail: impl Into<String>) -> ScimError {
        ScimError::typed(400, "expiredCursor", detail)
    }

    /// 400 `invalidCount` (RFC 9865 §2.1).
    pub fn invalid_count(detail: impl Into<String>) -> ScimError {
        ScimError::typed(400, "invalidCount", detail)
    }

    /// 400 `invalidVers`.
    pub fn invalid_version(detail: impl Into<String>) -> ScimError {
        ScimError::typed(400, "invalidVers", detail)
    }

    /// 409 `uniqueness`.
    pub fn uniqueness(detail: impl Into<String>) -> ScimError {
        ScimError::typed(409, "uniqueness", detail)
    }

    /// 404: there is no such resource.
    pub fn not_found(endpoint: &str, id: &str) -> ScimError {
        ScimError::new(404, format!("{endpoint}/{} does not exist", excerpt(id)))
    }

    /// A member that is not in the directory. 400 and not 404, which could be read as: the group is gone; never 500, which is sent again for ever.
    pub fn unknown_member(id: &str) -> ScimError {
        ScimError::invalid_value(format!("members: no user or group has the id \"{}\"", excerpt(id)))
    }

    /// The body of the answer.
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": self.status.to_string(),
            "detail": self.detail,
        });
        if let (Some(scim_type), Some(object)) = (self.scim_type, body.as_object_mut()) {
            object.insert("scimType".into(), scim_type.into());
        }
        body
    }
}

/// At most 80 characters of what somebody sent, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_a_string() {
        let body = ScimError::uniqueness("taken").to_json();
        assert_eq!(
            body,
            json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "409", "scimType": "uniqueness", "detail": "taken"})
        );
        assert_eq!(ScimError::not_found("/Users", "x").to_json().get("scimType"), None);
        assert!(excerpt(&"ä".repeat(1000)).len() < 200);
    }
}
