//! Finds the row of a request in THE TABLE: by path, method, and whether a WebSocket is asked for.

use std::borrow::Cow;

use warp::http::Method;

use super::error::ApiError;
use super::request::decimal;
use super::routes::{ROUTES, Route};

/// The rows that share a path.
#[derive(Debug, Default)]
struct PathRows {
    rows: Vec<&'static Route>,
}

/// Names the methods of rows for `Allow`; HEAD goes with GET where a probe does no harm.
fn allowed(rows: impl Iterator<Item = &'static Route>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for route in rows.filter(|route| !route.upgrades) {
        for method in route.methods {
            names.push(method.as_str());
            if *method == Method::GET && route.takes_head() {
                names.push("HEAD");
            }
        }
    }
    names.join(", ")
}

/// The row of a request, and what its path says.
#[derive(Debug)]
pub(crate) struct Matched {
    /// The row.
    pub(crate) route: &'static Route,
    /// The parameters of the path, percent-decoded.
    pub(crate) params: Vec<String>,
    /// Whether all of them were UTF-8. That they were not is told late, as of a malformed body (contract §1): a path with
    /// such a parameter is known, and who may not call is told that first.
    pub(crate) is_text: bool,
}

/// Finds rows by path and method.
#[derive(Debug)]
pub(crate) struct Router(matchit::Router<PathRows>);

impl Router {
    /// Builds the router over the table.
    ///
    /// # Errors
    /// When two paths of the table clash, which is a mistake in the table; a test builds it.
    pub(crate) fn new() -> Result<Self, String> {
        let mut by_path: std::collections::BTreeMap<&str, PathRows> = std::collections::BTreeMap::new();
        for route in ROUTES.iter() {
            by_path.entry(&route.path).or_default().rows.push(route);
        }
        let mut router = matchit::Router::new();
        for (path, rows) in by_path {
            router.insert(path, rows).map_err(|error| format!("the path {path} clashes: {error}"))?;
        }
        Ok(Self(router))
    }

    /// Finds the row for a request, with the path's parameters decoded.
    ///
    /// # Errors
    /// 404 when no path fits or its key is no key, 405 when the path is known but not the method.
    pub(crate) fn find(&self, method: &Method, path: &str, asks_for_websocket: bool) -> Result<Matched, ApiError> {
        let path = if path == "/" { path } else { path.strip_suffix('/').unwrap_or(path) };
        let found = self.0.at(path).map_err(|_| ApiError::no_such_path())?;
        let mut is_text = true;
        let params: Vec<String> = found.params.iter().map(|(_, text)| decode(text, &mut is_text)).collect();
        let first = found.params.iter().next().map_or("", |(name, _)| name);
        let key = params.first().map_or("", String::as_str);
        // A user's name may stand where a key does (contract §3); one of digits alone is a key.
        let is_name = first == "key" && !key.bytes().all(|byte| byte.is_ascii_digit());
        if matches!(first, "pk" | "key") && !is_name && decimal(key).is_none() {
            return Err(ApiError::no_such_path());
        }
        // A name is good for reading alone, and other methods are told so before anybody is asked who they are.
        let rows = || found.value.rows.iter().filter(|row| !is_name || row.methods.contains(&Method::GET)).copied();
        let wanted =
            |route: &&'static Route| route.methods.contains(method) || (*method == Method::HEAD && route.takes_head());
        // A path that takes no upgrade answers as if none had been asked for.
        let of_its_kind = rows().filter(wanted);
        let Some(route) = of_its_kind.max_by_key(|route| route.upgrades == asks_for_websocket) else {
            return Err(ApiError::method_not_allowed(&allowed(rows())));
        };
        Ok(Matched { route, params, is_text })
    }
}

/// Decodes a parameter of the path. What is not UTF-8 is replaced, and said.
fn decode(text: &str, is_text: &mut bool) -> String {
    let bytes = percent_encoding::percent_decode_str(text);
    bytes.clone().decode_utf8().map(Cow::into_owned).unwrap_or_else(|_| {
        *is_text = false;
        bytes.decode_utf8_lossy().into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_builds_and_its_names_are_unique() {
        Router::new().unwrap();
        let mut names: Vec<&str> = ROUTES.iter().map(|route| route.name.as_ref()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_method_has_one_row_per_path() {
        for (index, one) in ROUTES.iter().enumerate() {
            for other in
                ROUTES.iter().skip(index + 1).filter(|other| other.path == one.path && other.upgrades == one.upgrades)
            {
                assert!(one.methods.iter().all(|m| !other.methods.contains(m)), "{} and {}", one.name, other.name);
            }
        }
    }

    #[test]
    fn paths_are_told_apart() {
        let router = Router::new().unwrap();
        let name = |method: Method, path: &str| match router.find(&method, path, false) {
            Ok(Matched { route, params, is_text: true }) => format!("{} {params:?}", route.name),
            Ok(Matched { route, .. }) => format!("{} without a text", route.name),
            Err(error) => error.status().as_u16().to_string(),
        };
        assert_eq!(name(Method::POST, "/v1/jobs/list/"), "jobs.list []");
        assert_eq!(name(Method::GET, "/v1/jobs/7"), r#"jobs.retrieve ["7"]"#);
        assert_eq!(name(Method::GET, "/v1/jobs/7/outputs/a%2Fb/info"), r#"jobs.get_output ["7", "a/b", "info"]"#);
        assert_eq!(name(Method::GET, "/v1/users/ada"), r#"users.retrieve ["ada"]"#);
        assert_eq!(name(Method::HEAD, "/v1/jobs/7"), r#"jobs.retrieve ["7"]"#);
        for path in
            ["/v1", "/v1/jobs/abc", "/v1//jobs/list", "/V1/jobs/1", "/v1/jobs/list/extra", "/v1/jobs/1/outputs/x"]
        {
            assert_eq!(name(Method::GET, path), "404", "{path}");
        }
        assert_eq!(name(Method::GET, "/v1/users/99999999999999999999"), "404");
        // A HEAD must not take a job, although GET does.
        assert_eq!(name(Method::HEAD, "/v1/jobs/7/acquire"), "405");
        assert_eq!(name(Method::POST, "/v1/jobs/create"), "405");
        assert_eq!(name(Method::HEAD, "/v1/nodes/ping"), "nodes.ping []");
        assert_eq!(name(Method::POST, "/v1/jobs/7/outputs/%FF/x"), "jobs.add_output without a text");
        assert_eq!(name(Method::PUT, "/v1/jobs/7/outputs/%FF/x"), "405");
        assert_eq!(name(Method::GET, "/v1/jobs/%FF"), "404");
        assert_eq!(name(Method::PUT, "/v1/users/7"), r#"users.update ["7"]"#);
        assert_eq!(name(Method::PUT, "/v1/users/ada"), "405");
        assert_eq!(name(Method::GET, "/users/ada"), "404");
    }
}
