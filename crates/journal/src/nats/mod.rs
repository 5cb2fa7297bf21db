//! The replicated engine: events on the streams of NATS servers (JetStream), read and delivered by any number of replicas.

mod options;
mod settings;

pub use self::{
    options::{NatsServers, ServersError},
    settings::{InstallationName, InvalidSetting, MonitorUrl, NatsSettings},
};
