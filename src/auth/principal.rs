use super::Scope;
use std::sync::Arc;

/// Who calls: ids and scopes, nothing that has to be looked up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub team: Arc<str>,
    /// Id of the key, or the subject of a token.
    pub key: Arc<str>,
    pub scopes: Vec<Scope>,
}

impl Principal {
    pub fn new(team: &str, key: &str, scopes: &[Scope]) -> Principal {
        Principal { team: team.into(), key: key.into(), scopes: scopes.to_vec() }
    }
    /// `admin` may do everything.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}
