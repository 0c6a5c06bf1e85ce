use super::Scope;
use std::{collections::BTreeMap, sync::Arc};

/// Whether a name has the form that subjects of tokens have (`alice@https://login.example.com/`): no key may have it.
pub fn is_subject(name: &str) -> bool {
    name.contains("@https://") || name.contains("@http://")
}

/// Who calls: ids and scopes, nothing that has to be looked up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub team: Arc<str>,
    /// Id of the key, or the subject of a token.
    pub key: Arc<str>,
    pub scopes: Vec<Scope>,
    /// What else is said of it, such as the claims of a token, for routes to go by. A key has none.
    pub claims: Arc<BTreeMap<String, Vec<String>>>,
}

impl Principal {
    pub fn new(team: &str, key: &str, scopes: &[Scope]) -> Principal {
        Principal { team: team.into(), key: key.into(), scopes: scopes.to_vec(), claims: Arc::default() }
    }
    /// `admin` may do everything.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}
