//! Flags about many tenants: what each namespace may ask for, and where anything may lead.

use clap::Args;

use crate::spec::limits::Limits;

/// Many teams in one process: caps on what is kept, a budget for what is read, and an outer fence.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tenants")]
pub struct TenantArgs {
    /// The only addresses that anything may lead to, Connections in files included; patterns as for --allow-address.
    /// What KEDA's metadata calls `redis` in namespace shop is redis.shop.svc here. Without it, no fence.
    #[arg(long, value_name = "HOST:PORT", env = "TIDEGATE_ONLY_ADDRESSES", value_delimiter = ',')]
    pub only_addresses: Option<Vec<String>>,
    /// QueueAutoscalers that one namespace may have.
    #[arg(long, value_name = "N", env = "TIDEGATE_MAX_AUTOSCALERS_PER_NAMESPACE",
        default_value_t = Limits::default().autoscalers_per_namespace)]
    pub max_autoscalers_per_namespace: usize,
    /// Triggers that KEDA's calls may register for one namespace. Beyond, they are refused (RESOURCE_EXHAUSTED).
    #[arg(long, value_name = "N", env = "TIDEGATE_MAX_REGISTRATIONS_PER_NAMESPACE",
        default_value_t = Limits::default().registrations_per_namespace)]
    pub max_registrations_per_namespace: usize,
    /// Triggers that KEDA's calls may register for all namespaces together.
    #[arg(long, value_name = "N", env = "TIDEGATE_MAX_REGISTRATIONS", default_value_t = Limits::default().registrations)]
    pub max_registrations: usize,
    /// Different connections (server, database, user) that the triggers of one namespace registered by KEDA's calls may
    /// keep open.
    #[arg(long, value_name = "N", env = "TIDEGATE_MAX_CONNECTIONS_PER_NAMESPACE",
        default_value_t = Limits::default().connections_per_namespace)]
    pub max_connections_per_namespace: usize,
    /// Keys read a second for one namespace. Who asks for more is not refused, but read more seldom.
    #[arg(long, value_name = "N", env = "TIDEGATE_MAX_READS_PER_SECOND_PER_NAMESPACE",
        default_value_t = Limits::default().reads_per_second_per_namespace, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_reads_per_second_per_namespace: u32,
    /// Keys read a second for all namespaces together. When they ask for more, each gets a fair share.
    #[arg(long, value_name = "N", env = "TIDEGATE_MAX_READS_PER_SECOND",
        default_value_t = Limits::default().reads_per_second, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_reads_per_second: u32,
}

impl TenantArgs {
    /// The caps among them.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            autoscalers_per_namespace: self.max_autoscalers_per_namespace,
            registrations_per_namespace: self.max_registrations_per_namespace,
            registrations: self.max_registrations,
            connections_per_namespace: self.max_connections_per_namespace,
            reads_per_second_per_namespace: self.max_reads_per_second_per_namespace,
            reads_per_second: self.max_reads_per_second,
        }
    }
}
