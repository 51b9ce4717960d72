//! Where a server listens, and whether it may.

use std::net::SocketAddr;

use tokio::net::{TcpListener, lookup_host};

use crate::{
    config::AuthMode,
    exit::{Exit, Failure},
};

/// The addresses of a host and port, and whether all of them are on this machine only.
pub(crate) struct ListenAddress {
    pub(crate) host: String,
    addresses: Vec<SocketAddr>,
}

impl ListenAddress {
    /// Looks the host up.
    pub(crate) async fn find(host: &str, port: u16) -> Result<Self, Failure> {
        let unknown = |why: String| {
            Failure::new(Exit::Usage, format!("cannot listen on `{host}`: {why}"))
                .hint("--host takes an address of this machine, such as 127.0.0.1")
        };
        let addresses: Vec<_> =
            lookup_host((host, port)).await.map_err(|error| unknown(error.to_string()))?.collect();
        match addresses.is_empty() {
            true => Err(unknown("it has no address".into())),
            false => Ok(Self { host: host.to_owned(), addresses }),
        }
    }

    /// What is missing before clients on other machines may be served.
    pub(crate) fn missing_auth(&self, auth: AuthMode) -> Option<String> {
        let is_loopback = self.addresses.iter().all(|address| address.ip().is_loopback());
        match auth {
            AuthMode::Keys | AuthMode::Jwt => None,
            AuthMode::None if is_loopback => None,
            AuthMode::None => Some(format!(
                "`auth`: with `auth = \"none\"` anyone who reaches `{}` could act for any tenant",
                self.host
            )),
        }
    }

    /// Binds the port. From now on clients wait instead of being refused.
    pub(crate) async fn bind(&self) -> Result<TcpListener, Failure> {
        TcpListener::bind(self.addresses.as_slice()).await.map_err(|error| {
            let port = self.addresses.first().map_or(0, SocketAddr::port);
            let at = format!("{}:{port}", self.host);
            match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    Failure::new(Exit::Failed, format!("{at} is in use by another program"))
                        .hint("stop it, or choose another port with --port (0 takes any free one)")
                }
                std::io::ErrorKind::PermissionDenied => {
                    Failure::new(Exit::Failed, format!("no permission to listen on {at}: {error}"))
                        .hint("choose a port above 1023 with --port")
                }
                _ => Failure::new(Exit::Failed, format!("cannot listen on {at}: {error}"))
                    .hint("--host takes an address of this machine, such as 127.0.0.1"),
            }
        })
    }
}
