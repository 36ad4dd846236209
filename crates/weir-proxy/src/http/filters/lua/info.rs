//! What is known of a request and of its client's connection, for scripts.

use std::collections::BTreeMap;

use mlua::{Lua, UserData, UserDataMethods, Value};
use weir_xds::prost_types::Struct;

use super::certificates::SslConnection;
use super::limits::KEPT;
use super::metadata::{MetadataMap, of_struct, to_value};
use super::stream::Life;
use crate::exchange::protocol_name;
use crate::http::router::routes::Found;

/// `streamInfo()`.
pub(super) struct StreamInfo(pub(super) Life);

/// `connectionStreamInfo()`: no filter of ours leaves anything there.
pub(super) struct ConnectionStreamInfo(pub(super) Life);

/// `connection()`.
pub(super) struct Connection(pub(super) Life);

/// `dynamicMetadata()`: of the request, which filters may add to, or of the connection.
pub(super) struct DynamicMetadata {
    life: Life,
    of_connection: bool,
}

/// `filterState()`: no filter of ours leaves anything there.
pub(super) struct FilterState(Life);

/// `route()` or `virtualHost()`.
pub(super) struct Configured {
    pub(super) life: Life,
    pub(super) of: Level,
}

/// What has metadata.
#[derive(Debug, Clone, Copy)]
pub(super) enum Level {
    Route,
    VirtualHost,
}

impl Level {
    /// What stands there under a name.
    pub(super) fn fields(self, found: &Found, name: &str) -> Option<std::sync::Arc<Struct>> {
        match self {
            Self::Route => found.route()?.filter_metadata.get(name).cloned(),
            Self::VirtualHost => found.virtual_host().filter_metadata.get(name).cloned(),
        }
    }
}

impl UserData for Configured {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("metadata", |_, this, ()| {
            let stream = this.life.stream()?;
            let fields = stream.with_route(|found| this.of.fields(found, &stream.filter)).flatten();
            Ok(MetadataMap { life: this.life.clone(), fields })
        });
    }
}

/// TLS, if the client speaks it.
fn ssl(life: &Life) -> mlua::Result<Option<SslConnection>> {
    let stream = life.stream()?;
    Ok(stream.exchange.connection.tls_version.is_some().then(|| SslConnection(life.clone())))
}

impl UserData for StreamInfo {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("protocol", |_, this, ()| Ok(this.0.stream()?.exchange.protocol.map(protocol_name)));
        methods.add_method("routeName", |_, this, ()| {
            let name = this.0.stream()?.with_route(|found| found.route().map(|route| route.name.to_string()));
            Ok(name.flatten().unwrap_or_default())
        });
        methods.add_method("virtualClusterName", |_, this, ()| {
            this.0.stream()?;
            Ok("")
        });
        for name in ["downstreamLocalAddress", "downstreamDirectLocalAddress"] {
            methods.add_method(name, |_, this, ()| Ok(this.0.stream()?.exchange.connection.local.to_string()));
        }
        methods.add_method("downstreamDirectRemoteAddress", |_, this, ()| Ok(this.0.stream()?.exchange.connection.remote.to_string()));
        methods.add_method("downstreamRemoteAddress", |_, this, ()| Ok(this.0.stream()?.exchange.remote.get().to_string()));
        methods.add_method("requestedServerName", |_, this, ()| {
            Ok(this.0.stream()?.exchange.connection.server_name.as_deref().unwrap_or_default().to_owned())
        });
        methods.add_method("dynamicMetadata", |_, this, ()| {
            this.0.stream()?;
            Ok(DynamicMetadata { life: this.0.clone(), of_connection: false })
        });
        methods.add_method("dynamicTypedMetadata", |_, this, _: mlua::String| this.0.stream().map(|_| Value::Nil));
        methods.add_method("filterState", |_, this, ()| this.0.stream().map(|_| FilterState(this.0.clone())));
        methods.add_method("downstreamSslConnection", |_, this, ()| ssl(&this.0));
        methods.add_method("drainConnectionUponCompletion", |_, this, ()| {
            this.0.stream()?.control.finish();
            Ok(())
        });
    }
}

impl UserData for ConnectionStreamInfo {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("dynamicMetadata", |_, this, ()| {
            this.0.stream()?;
            Ok(DynamicMetadata { life: this.0.clone(), of_connection: true })
        });
        methods.add_method("dynamicTypedMetadata", |_, this, _: mlua::String| this.0.stream().map(|_| Value::Nil));
    }
}

impl UserData for Connection {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("ssl", |_, this, ()| ssl(&this.0));
    }
}

impl UserData for FilterState {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("get", |_, this, _: (mlua::String, Option<mlua::String>)| this.0.stream().map(|_| Value::Nil));
    }
}

impl DynamicMetadata {
    fn look<T>(&self, look: impl FnOnce(&BTreeMap<String, Struct>) -> T) -> mlua::Result<T> {
        let stream = self.life.stream()?;
        Ok(if self.of_connection { look(&BTreeMap::new()) } else { look(&stream.exchange.dynamic_metadata.borrow()) })
    }

    /// All that is there.
    pub(super) fn entries(&self, lua: &Lua) -> mlua::Result<Vec<(mlua::String, Value)>> {
        self.look(|all| all.iter().map(|(name, fields)| Ok((lua.create_string(name)?, Value::Table(of_struct(lua, fields)?)))).collect())?
    }
}

impl UserData for DynamicMetadata {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("get", |lua, this, name: mlua::String| {
            let fields = this.look(|all| all.get(&*name.to_string_lossy()).map(|fields| of_struct(lua, fields)).transpose())??;
            super::or_nothing(lua, fields)
        });
        methods.add_method("set", |_, this, (name, key, value): (mlua::String, mlua::String, Value)| {
            let stream = this.life.stream()?;
            if this.of_connection {
                return Err(mlua::Error::runtime("the metadata of a connection cannot be changed"));
            }
            let mut left = KEPT;
            let value = match to_value(&value, &mut left) {
                Err(_) if left == 0 => return Err(stream.refuse("the value is too large for dynamicMetadata")),
                value => value?,
            };
            stream.spend(KEPT - left + name.as_bytes().len() + key.as_bytes().len())?;
            let mut all = stream.exchange.dynamic_metadata.borrow_mut();
            all.entry(name.to_string_lossy()).or_default().fields.insert(key.to_string_lossy(), value);
            Ok(())
        });
    }
}
