//! `cluster.cni`: the network plugin with its settings, and what they come to.

use deserr::{Deserr, IntoValue, Map, Value, ValuePointerRef};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

use super::cluster::{Mtu, Net};
use super::locate::{Locate, locate};
use super::problem::Problems;
use super::text::{Bad, FromText};
use super::value::Spanned;
use crate::cluster::cni::{self, bridge, calico, cilium, flannel, kubenet};
use crate::scenario::diag::quote;
use crate::scenario::tree::Node;

/// The field that says which plugin it is.
const PLUGIN: &str = "plugin";

/// The plugins, each with the struct of its settings.
macro_rules! plugins {
    ($($(#[doc = $doc:literal])* $plugin:ident($settings:ident)),+ $(,)?) => {
        /// The network plugin.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Cni {
            $($(#[doc = $doc])* $plugin($settings),)+
        }

        /// A network plugin.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
        #[deserr(error = Problems, rename_all = lowercase)]
        #[schemars(rename_all = "lowercase")]
        pub enum Plugin {
            $($(#[doc = $doc])* $plugin,)+
        }

        impl Deserr<Problems> for Cni {
            fn deserialize_from_value<V: IntoValue>(
                value: Value<V>,
                at: ValuePointerRef<'_>,
            ) -> Result<Self, Problems> {
                let mut map = match value {
                    Value::Map(map) => map,
                    other => return Err(Problems::wrong_kind(at, &other, "a map")),
                };
                let Some(plugin) = map.remove(PLUGIN) else { return Err(Problems::missing(at, &[PLUGIN], None)) };
                match Plugin::deserialize_from_value(plugin.into_value(), at.push_key(PLUGIN))? {
                    $(Plugin::$plugin => {
                        $settings::deserialize_from_value(Value::<V>::Map(map), at).map(Cni::$plugin)
                    })+
                }
            }
        }

        impl JsonSchema for Cni {
            fn schema_name() -> Cow<'static, str> {
                "Cni".into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let forms = [$(generator.subschema_for::<$settings>()),+];
                json_schema!({"description": "The network plugin.", "oneOf": forms})
            }
        }

        impl Locate for Cni {
            fn locate(&mut self, node: &Node) {
                match self {
                    $(Cni::$plugin(settings) => settings.locate(node),)+
                }
            }
        }

        impl Cni {
            /// The plugin as it is to be, with its own defaults where there is no setting.
            pub fn settings(&self) -> cni::Plugin {
                match self {
                    $(Cni::$plugin(settings) => cni::Plugin::$plugin(settings.settings()),)+
                }
            }
        }
    };
}

plugins! {
    /// A bridge on each node, routes between nodes.
    Kubenet(KubenetCni),
    /// A bridge on each node, a tunnel or routes between nodes.
    Flannel(FlannelCni),
    /// A link for each pod, routes to them all.
    Calico(CalicoCni),
    /// Programs of eBPF and tunnels of VXLAN.
    Cilium(CiliumCni),
}

/// kubenet.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct KubenetCni {
    /// A bridge on each node, routes between nodes.
    #[schemars(extend("const" = "kubenet"))]
    pub plugin: Plugin,
    /// The bridge that a node's pods hang on. cbr0.
    #[deserr(default)]
    pub bridge: Option<Spanned<String>>,
    /// Of the bridge and of the pods' interfaces. 1500.
    #[deserr(default)]
    pub mtu: Option<Spanned<Mtu>>,
    /// How a pod reaches itself through a Service. hairpin-veth.
    #[deserr(default, rename = "hairpinMode")]
    #[schemars(rename = "hairpinMode")]
    pub hairpin_mode: Option<HairpinMode>,
    /// What goes elsewhere gets the node's address (`--non-masquerade-cidr`). 10.0.0.0/8.
    #[deserr(default, rename = "nonMasqueradeCIDR")]
    #[schemars(rename = "nonMasqueradeCIDR")]
    pub non_masquerade_cidr: Option<Spanned<Net>>,
}

locate!(KubenetCni {
    bridge = "bridge", mtu = "mtu", non_masquerade_cidr = "nonMasqueradeCIDR";
    plugin, hairpin_mode
});

/// The kubelet's `hairpinMode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems)]
pub enum HairpinMode {
    /// Bridge ports may send a frame back to where it came from.
    #[deserr(rename = "hairpin-veth")]
    #[schemars(rename = "hairpin-veth")]
    HairpinVeth,
    /// The bridge is promiscuous.
    #[deserr(rename = "promiscuous-bridge")]
    #[schemars(rename = "promiscuous-bridge")]
    PromiscuousBridge,
    /// It does not.
    #[deserr(rename = "none")]
    #[schemars(rename = "none")]
    None,
}

impl KubenetCni {
    fn settings(&self) -> kubenet::Kubenet {
        let KubenetCni { plugin: _, bridge, mtu, hairpin_mode, non_masquerade_cidr } = self;
        let default = kubenet::Kubenet::default();
        kubenet::Kubenet {
            bridge: bridge.as_ref().map_or(default.bridge, |b| b.value.clone()),
            mtu: mtu.as_ref().map_or(default.mtu, |m| m.value.0),
            hairpin: match hairpin_mode {
                Some(HairpinMode::HairpinVeth) => bridge::HairpinMode::HairpinVeth,
                Some(HairpinMode::PromiscuousBridge) => bridge::HairpinMode::PromiscuousBridge,
                Some(HairpinMode::None) => bridge::HairpinMode::None,
                None => default.hairpin,
            },
            non_masquerade_cidr: non_masquerade_cidr.as_ref().map_or(default.non_masquerade_cidr, |n| n.value.0),
        }
    }
}

/// Flannel.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct FlannelCni {
    /// A bridge on each node, a tunnel or routes between nodes.
    #[schemars(extend("const" = "flannel"))]
    pub plugin: Plugin,
    /// How packets get to other nodes (`Backend.Type`). vxlan.
    #[deserr(default)]
    pub backend: Option<FlannelBackend>,
    /// The longest packet between nodes (`Backend.MTU`). 1500.
    #[deserr(default)]
    pub mtu: Option<Spanned<Mtu>>,
    /// Of the bridge and of the pods' interfaces (`mtu` of the `delegate`). 50 less than `mtu` with vxlan, else `mtu`.
    #[deserr(default, rename = "delegateMTU")]
    #[schemars(rename = "delegateMTU")]
    pub delegate_mtu: Option<Spanned<Mtu>>,
}

locate!(FlannelCni { mtu = "mtu", delegate_mtu = "delegateMTU"; plugin, backend });

/// A backend of Flannel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems)]
pub enum FlannelBackend {
    /// A tunnel: VXLAN.
    #[deserr(rename = "vxlan")]
    #[schemars(rename = "vxlan")]
    Vxlan,
    /// Routes. All nodes are in one network.
    #[deserr(rename = "host-gw")]
    #[schemars(rename = "host-gw")]
    HostGw,
}

impl FlannelCni {
    fn settings(&self) -> flannel::Flannel {
        let FlannelCni { plugin: _, backend, mtu, delegate_mtu } = self;
        let default = flannel::Flannel::default();
        flannel::Flannel {
            backend: match backend {
                Some(FlannelBackend::Vxlan) => flannel::Backend::Vxlan,
                Some(FlannelBackend::HostGw) => flannel::Backend::HostGw,
                None => default.backend,
            },
            mtu: mtu.as_ref().map_or(default.mtu, |m| m.value.0),
            delegate_mtu: delegate_mtu.as_ref().map(|m| m.value.0),
        }
    }
}

/// Calico.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct CalicoCni {
    /// A link for each pod, routes to them all.
    #[schemars(extend("const" = "calico"))]
    pub plugin: Plugin,
    /// How packets get to other nodes (`encapsulation` of the IP pool).
    pub encapsulation: Encapsulation,
    /// The length of the prefix of a node's block of addresses, where it has no `podCIDR` (`blockSize` of the IP pool).
    /// 26.
    #[deserr(default, rename = "blockSize")]
    #[schemars(rename = "blockSize")]
    pub block_size: Option<Spanned<BlockSize>>,
    /// Of the pods' interfaces and of the tunnel's device. What the tunnel's headers leave of 1500.
    #[deserr(default)]
    pub mtu: Option<Spanned<Mtu>>,
}

locate!(CalicoCni { block_size = "blockSize", mtu = "mtu"; plugin, encapsulation });

/// How Calico's packets get to other nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems)]
pub enum Encapsulation {
    /// By routes, which the routers between the nodes know, too.
    None,
    /// In a tunnel: VXLAN.
    #[deserr(rename = "VXLAN")]
    #[schemars(rename = "VXLAN")]
    Vxlan,
    /// In a tunnel between nodes in different networks, by routes within one.
    #[deserr(rename = "VXLANCrossSubnet")]
    #[schemars(rename = "VXLANCrossSubnet")]
    VxlanCrossSubnet,
    /// In a tunnel: IP in IP.
    #[deserr(rename = "IPIP")]
    #[schemars(rename = "IPIP")]
    Ipip,
    /// In such a tunnel between nodes in different networks, by routes within one.
    #[deserr(rename = "IPIPCrossSubnet")]
    #[schemars(rename = "IPIPCrossSubnet")]
    IpipCrossSubnet,
}

/// The length of the prefix of a block of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockSize(pub u8);

impl FromText for BlockSize {
    const WHAT: &'static str = "the length of a block's prefix";

    fn from_text(text: &str) -> Result<Self, Bad> {
        match text.parse() {
            Ok(len @ 20..=32) => Ok(BlockSize(len)),
            _ => Err(Bad(format!("{} is no size of a block", quote(text)), Some("20 to 32".to_owned()))),
        }
    }
}

impl CalicoCni {
    fn settings(&self) -> calico::Calico {
        let CalicoCni { plugin: _, encapsulation, block_size, mtu } = self;
        let encapsulation = match encapsulation {
            Encapsulation::None => calico::Encapsulation::None,
            Encapsulation::Vxlan => calico::Encapsulation::Vxlan,
            Encapsulation::VxlanCrossSubnet => calico::Encapsulation::VxlanCrossSubnet,
            Encapsulation::Ipip => calico::Encapsulation::Ipip,
            Encapsulation::IpipCrossSubnet => calico::Encapsulation::IpipCrossSubnet,
        };
        calico::Calico {
            encapsulation,
            block_size: block_size.as_ref().map_or(calico::BLOCK_SIZE, |b| b.value.0),
            mtu: mtu.as_ref().map_or_else(|| encapsulation.mtu(), |m| m.value.0),
        }
    }
}

/// Cilium 1.17, with values as its Helm chart has them.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, validate = as_its_agent_starts -> Problems)]
#[schemars(deny_unknown_fields)]
pub struct CiliumCni {
    /// Programs of eBPF and tunnels of VXLAN.
    #[schemars(extend("const" = "cilium"))]
    pub plugin: Plugin,
    /// Of all devices, as the nodes' interfaces have it; routes to pods have 50 less if there is a tunnel. 1500.
    #[deserr(default)]
    pub mtu: Option<Spanned<Mtu>>,
    /// How packets get to other nodes. tunnel.
    #[deserr(default, rename = "routingMode")]
    #[schemars(rename = "routingMode")]
    pub routing_mode: Option<RoutingMode>,
    /// Nodes have routes to the others of their network. Without a tunnel only.
    #[deserr(default, rename = "autoDirectNodeRoutes")]
    #[schemars(default, rename = "autoDirectNodeRoutes")]
    pub auto_direct_node_routes: bool,
    /// There is no kube-proxy. It goes with `socketLB: {hostNamespaceOnly: true}`.
    #[deserr(default, rename = "kubeProxyReplacement")]
    #[schemars(default, rename = "kubeProxyReplacement")]
    pub kube_proxy_replacement: bool,
    /// Where Services are translated as programs connect.
    #[deserr(default, rename = "socketLB")]
    #[schemars(rename = "socketLB")]
    pub socket_lb: Option<SocketLb>,
    /// What pods send out of the cluster gets their node's address, by iptables. With a tunnel only.
    #[deserr(default = true, rename = "enableIPv4Masquerade")]
    #[schemars(default = "super::schema::default_true", rename = "enableIPv4Masquerade")]
    pub enable_ipv4_masquerade: bool,
    /// Settings of the programs.
    #[deserr(default)]
    pub bpf: Option<CiliumBpf>,
}

locate!(CiliumCni {
    mtu = "mtu";
    plugin, routing_mode, auto_direct_node_routes, kube_proxy_replacement, socket_lb, enable_ipv4_masquerade, bpf
});

/// How Cilium's packets get to other nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, rename_all = lowercase)]
#[schemars(rename_all = "lowercase")]
pub enum RoutingMode {
    /// In a tunnel: VXLAN.
    Tunnel,
    /// As they are, by routes.
    Native,
}

/// `socketLB` of Cilium.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct SocketLb {
    /// On the nodes themselves only: of pods' packets, each is translated.
    #[deserr(rename = "hostNamespaceOnly")]
    #[schemars(rename = "hostNamespaceOnly")]
    pub host_namespace_only: bool,
}

/// `bpf` of Cilium.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct CiliumBpf {
    /// Programs masquerade: not simulated.
    #[deserr(default)]
    #[schemars(default)]
    pub masquerade: bool,
    /// The node's stack routes. So it does without kubeProxyReplacement, or with enableIPv4Masquerade.
    #[deserr(default, rename = "hostLegacyRouting")]
    #[schemars(default, rename = "hostLegacyRouting")]
    pub host_legacy_routing: bool,
}

/// The agent does not start with everything, and not everything that it does is simulated.
fn as_its_agent_starts(cilium: CiliumCni, at: ValuePointerRef<'_>) -> Result<CiliumCni, Problems> {
    let native = cilium.routing_mode == Some(RoutingMode::Native);
    let in_pods = cilium.socket_lb.is_none_or(|lb| !lb.host_namespace_only);
    let wrong = [
        (
            cilium.auto_direct_node_routes && !native,
            "autoDirectNodeRoutes",
            "auto-direct-node-routes cannot be used with tunneling",
            "add `routingMode: native`",
        ),
        (
            cilium.kube_proxy_replacement && in_pods,
            "kubeProxyReplacement",
            "socket load balancing in pods is not simulated",
            "add `socketLB: {hostNamespaceOnly: true}`",
        ),
        (
            cilium.enable_ipv4_masquerade && native,
            "routingMode",
            "masquerading without a tunnel is not simulated",
            "add `enableIPv4Masquerade: false`",
        ),
    ];
    let mut problems = Problems::default();
    if cilium.bpf.is_some_and(|bpf| bpf.masquerade) {
        let hint = Some("add `enableIPv4Masquerade: false`, and leave it out".to_owned());
        let message = "masquerading by eBPF is not simulated".to_owned();
        problems.add(Problems::bad(at.push_key("bpf").push_key("masquerade"), message, hint));
    }
    for (_, field, message, hint) in wrong.into_iter().filter(|(is_wrong, ..)| *is_wrong) {
        problems.add(Problems::bad(at.push_key(field), message.to_owned(), Some(hint.to_owned())));
    }
    if problems.is_empty() { Ok(cilium) } else { Err(problems) }
}

impl CiliumCni {
    fn settings(&self) -> cilium::Cilium {
        let CiliumCni {
            plugin: _,
            mtu,
            routing_mode,
            auto_direct_node_routes,
            kube_proxy_replacement,
            // What it has to be is checked.
            socket_lb: _,
            enable_ipv4_masquerade,
            bpf,
        } = self;
        cilium::Cilium {
            mtu: mtu.as_ref().map_or(cilium::Cilium::default().mtu, |m| m.value.0),
            routing_mode: match routing_mode {
                Some(RoutingMode::Tunnel) | None => cilium::RoutingMode::Tunnel,
                Some(RoutingMode::Native) => {
                    cilium::RoutingMode::Native { auto_direct_node_routes: *auto_direct_node_routes }
                }
            },
            kube_proxy_replacement: *kube_proxy_replacement,
            masquerade: *enable_ipv4_masquerade,
            host_legacy_routing: bpf.is_some_and(|bpf| bpf.host_legacy_routing),
        }
    }
}
