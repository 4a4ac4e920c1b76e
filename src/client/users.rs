//! Users and their API tokens.

use reqwest::Method;

use super::call::{Call, json_of};
use super::{Client, ClientError};
use crate::domain::ids::UserId;
use crate::wire::User;
use crate::wire::list::ListSpec;
use crate::wire::token::{ApiToken, MadeApiToken, NewApiToken};
use crate::wire::user::NewUser;

/// Every method fails as `ClientError` tells; the statuses named are those that a right call may meet.
impl Client {
    /// Gives the user that this client calls as.
    pub async fn whoami(&self) -> Result<User, ClientError> {
        self.get("/v1/auth/whoami".to_owned()).await
    }

    /// Gives a user. For the staff, and for the user itself.
    pub async fn user(&self, user: UserId) -> Result<User, ClientError> {
        self.get(format!("/v1/users/{user}")).await
    }

    /// Lists users. For the staff.
    pub async fn users(&self, spec: &ListSpec) -> Result<Vec<User>, ClientError> {
        self.list("users", spec).await
    }

    /// Makes a user. For the staff. 400 for a name that is taken or a short password.
    pub async fn create_user(&self, user: &NewUser) -> Result<User, ClientError> {
        self.post("/v1/users/create".to_owned(), user).await
    }

    /// Makes an API token. For oneself, and for others by the staff.
    pub async fn create_api_token(&self, token: &NewApiToken) -> Result<MadeApiToken, ClientError> {
        self.post("/v1/auth/tokens".to_owned(), token).await
    }

    /// Lists one's API tokens, or everybody's, for the staff.
    pub async fn api_tokens(&self, all: bool) -> Result<Vec<ApiToken>, ClientError> {
        self.get(format!("/v1/auth/tokens{}", if all { "?user=all" } else { "" })).await
    }

    /// Makes an API token void.
    pub async fn revoke_api_token(&self, pk: i64) -> Result<ApiToken, ClientError> {
        json_of(self.send(&Call::new(Method::DELETE, format!("/v1/auth/tokens/{pk}"))).await?).await
    }
}
