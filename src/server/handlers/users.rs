//! Users: accounts and their passwords (contract §4).

use serde_json::{Map, Value};
use warp::reply::Response;

use super::lists;
use crate::domain::fields::{Fields, Problems, boolean, text};
use crate::domain::ids::UserId;
use crate::server::App;
use crate::server::error::ApiError;
use crate::server::request::{Call, created, no_content, ok};
use crate::store::users::{NewUser, UserChanges, listing};
use crate::wire::User;

/// Characters of a user's name, and of first and last names.
const NAME_CHARS_MAX: usize = 150;
/// Characters of an e-mail address.
const EMAIL_CHARS_MAX: usize = 254;
/// Characters of a password.
const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 8..=1_024;
/// What is shown but not taken.
const READ_ONLY: [&str; 4] = ["pk", "is_superuser", "date_joined", "last_login"];

/// `POST /v1/users/list`.
pub(crate) async fn list(call: &mut Call) -> Result<Response, ApiError> {
    super::write_soft_state(&call.app).await;
    let app = call.app.clone();
    lists::list(call, listing(), move |user| app.soft.user(user)).await
}

/// `POST /v1/users/create`.
pub(crate) async fn create(call: &mut Call) -> Result<Response, ApiError> {
    let body = call.json().await?;
    created(&make(&call.app, &body).await?)
}

/// Makes a user as a body asks for it.
///
/// # Errors
/// 400 naming what is wrong, a taken name too.
pub(in crate::server) async fn make(app: &App, body: &Map<String, Value>) -> Result<User, ApiError> {
    let (changes, password) = parse(body, true, true)?;
    let UserChanges { username, password_hash: _, first_name, last_name, email, is_active, is_staff } = changes;
    let (Some(username), Some(password)) = (username, password) else { return Err(Problems::default().into()) };
    let new = NewUser {
        username,
        password_hash: app.passwords.hash(password).await?,
        first_name: first_name.unwrap_or_default(),
        last_name: last_name.unwrap_or_default(),
        email: email.unwrap_or_default(),
        is_active: is_active.unwrap_or(true),
        is_staff: is_staff.unwrap_or(false),
    };
    Ok(app.store.create_user(new).await?)
}

/// `GET /v1/users/{PK}`, or `GET /v1/users/{NAME}`, which gives an array.
pub(crate) async fn retrieve(call: &mut Call) -> Result<Response, ApiError> {
    let app = &call.app;
    if let Ok(pk) = by_key(call) {
        let user = app.store.user(pk)?.ok_or_else(ApiError::not_found)?;
        return ok(&app.soft.user(user));
    }
    let user = app.store.user_by_name(call.param(0))?;
    let users: Vec<_> = user.into_iter().map(|user| app.soft.user(user)).collect();
    ok(&users)
}

/// `PUT /v1/users/{PK}`.
pub(crate) async fn update(call: &mut Call) -> Result<Response, ApiError> {
    change(call, true).await
}

/// `PATCH /v1/users/{PK}`.
pub(crate) async fn partial_update(call: &mut Call) -> Result<Response, ApiError> {
    change(call, false).await
}

/// `DELETE /v1/users/{PK}`: deactivates; the row stays.
pub(crate) async fn deactivate(call: &mut Call) -> Result<Response, ApiError> {
    let pk = by_key(call)?;
    let changes = UserChanges { is_active: Some(false), ..UserChanges::default() };
    call.app.store.update_user(pk, changes).await?;
    no_content()
}

async fn change(call: &mut Call, whole: bool) -> Result<Response, ApiError> {
    let pk = by_key(call)?;
    let body = call.json().await?;
    ok(&alter(&call.app, pk, &body, whole).await?)
}

/// Changes a user as a body asks for it; `whole` says that the body must have every required field.
///
/// # Errors
/// 400 naming what is wrong, 404, 406 when no active staff user would be left.
pub(in crate::server) async fn alter(
    app: &App,
    pk: UserId,
    body: &Map<String, Value>,
    whole: bool,
) -> Result<User, ApiError> {
    let (mut changes, password) = parse(body, whole, false)?;
    if let Some(password) = password {
        changes.password_hash = Some(app.passwords.hash(password).await?);
    }
    Ok(app.soft.user(app.store.update_user(pk, changes).await?))
}

/// Gives the key in the path; a name can't be written to.
fn by_key(call: &Call) -> Result<UserId, ApiError> {
    let is_key = call.param(0).bytes().all(|byte| byte.is_ascii_digit());
    if is_key { Ok(UserId(call.pk())) } else { Err(ApiError::not_found()) }
}

/// Takes a body apart; gives the password in clear beside the rest, which has no hash yet.
fn parse(
    body: &Map<String, Value>,
    whole: bool,
    wants_password: bool,
) -> Result<(UserChanges, Option<String>), Problems> {
    let mut fields = Fields::new(body);
    fields.pass_over(&READ_ONLY);
    let changes = UserChanges {
        username: fields.needed_if(whole, "username", username),
        password_hash: None,
        first_name: fields.optional("first_name", text(0..=NAME_CHARS_MAX)),
        last_name: fields.optional("last_name", text(0..=NAME_CHARS_MAX)),
        email: fields.optional("email", email),
        is_active: fields.optional("is_active", boolean),
        is_staff: fields.optional("is_staff", boolean),
    };
    let password = fields.needed_if(wants_password, "password", text(PASSWORD_CHARS));
    fields.finish()?;
    Ok((changes, password))
}

/// Takes a user's name.
fn username(value: &Value) -> Result<String, String> {
    let name = text(1..=NAME_CHARS_MAX)(value)?;
    if name.chars().all(|c| c.is_alphanumeric() || "@.+-_".contains(c)) {
        return Ok(name);
    }
    Err("Must hold letters, digits and @ . + - _ only.".to_owned())
}

/// Takes an e-mail address, or nothing: a check for slips, since only a mail can tell whether an address is good.
fn email(value: &Value) -> Result<String, String> {
    let address = text(0..=EMAIL_CHARS_MAX)(value)?;
    let is_plausible = |(local, domain): (&str, &str)| {
        let dots_are_inside = !domain.starts_with('.') && !domain.ends_with('.') && !domain.contains("..");
        !local.is_empty() && !domain.is_empty() && !domain.contains('@') && dots_are_inside
    };
    let is_one_word = !address.chars().any(|c| c.is_whitespace() || c.is_control());
    if address.is_empty() || (is_one_word && address.split_once('@').is_some_and(is_plausible)) {
        return Ok(address);
    }
    Err("Must be an e-mail address, such as ada@lab.example.".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_letters_digits_and_a_few_signs() {
        for good in ["a", "Ada.Lovelace+lab@example-1_2", "Zoë", "Ωmega", "7", &"x".repeat(150)] {
            assert_eq!(username(&json!(good)), Ok(good.to_owned()));
        }
        for bad in ["", "a b", "a;b", "a/b", "a\u{0}", "a\n", "<a>", "\u{202e}a", &"x".repeat(151)] {
            assert!(username(&json!(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_are_checked_for_slips() {
        for good in ["", "a@b", "m@lab.example", "a.b+c@d-e.org", "ä@ö.de"] {
            assert_eq!(email(&json!(good)), Ok(good.to_owned()));
        }
        for bad in ["nonsense", "@b", "a@", "a@@b", "a@b@c", "a b@c", "a@.b", "a@b.", "a@b..c", "a@b\n", " a@b"] {
            assert!(email(&json!(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_body_is_taken_with_what_is_read_only_passed_over() {
        let body = json!({"pk": 9, "username": "ada", "is_superuser": true, "date_joined": "x", "last_login": null});
        let (changes, password) = parse(body.as_object().unwrap(), true, false).unwrap();
        assert_eq!((changes.username.as_deref(), changes.is_staff, password), (Some("ada"), None, None));
        let bad = json!({"password": "short-7", "first_name": null, "is_staff": "yes", "nickname": "x"});
        let Err(problems) = parse(bad.as_object().unwrap(), true, true) else { panic!("a bad body was taken") };
        assert!(problems.names().eq(["first_name", "is_staff", "nickname", "password", "username"]), "{problems:?}");
    }
}
