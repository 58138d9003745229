//! A mesh of a few namespaces: curl, proxies behind REDIRECT rules, nginx. What goes over which interface, and what
//! programs print.

mod istiod;
mod lab;

use istiod::Istiod;
use lab::*;
use sim_core::base::time::MS;
use sim_core::observe::Memory;
use sim_core::user::envoy::Envoy;
use sim_core::user::envoy::config::*;
use sim_core::user::envoy::discovery::{ClusterLoadAssignment, Resources};
use std::net::{Ipv4Addr, SocketAddrV4};

/// One request: what curl sees, what goes over lo and eth0, what is not over when curl has gone.
#[test]
fn one_request() {
    let mut lab = Lab::new(|_, config| config.clusters[0].endpoints.truncate(1));
    let (text, code) = lab.run("sleep", "curl -si http://web/");
    let fields: Vec<&str> = text.lines().map(|l| l.split(':').next().unwrap()).collect();
    let want = [
        "HTTP/1.1 200 OK",
        "server",
        "date",
        "content-type",
        "content-length",
        "last-modified",
        "etag",
        "accept-ranges",
        "x-envoy-upstream-service-time",
        "",
        "web1",
    ];
    assert_eq!((fields.as_slice(), code), (&want[..], 0), "{text}");
    assert!(text.contains("server: envoy\r\n"), "{text}");

    // lo: the app's SYN is redirected, the answers carry the Service's address; it is plain text, and it ends.
    let vip: Ipv4Addr = VIP.parse().unwrap();
    let lo: Vec<&Segment> = lab.at("sleep/lo").collect();
    assert_eq!(lo[0].to, "127.0.0.1:15001".parse().unwrap());
    assert!(lo[1].syn && lo[1].from == SocketAddrV4::new(vip, 80));
    assert!(lo.iter().any(|s| contains(&s.data, "GET / HTTP/1.1\r\nHost: web\r\n")));
    assert_eq!(lo.iter().filter(|s| s.fin).count(), 2);
    // eth0: straight to the pod, in TLS, and it does not end.
    assert!(lab.at("sleep/eth0").all(|s| *s.from.ip() != vip && *s.to.ip() != vip));
    let connections = lab.connections("sleep/eth0");
    assert_eq!(connections.iter().map(|(_, to)| *to).collect::<Vec<_>>(), ["10.244.2.2:8080".parse().unwrap()]);
    let hello = lab.at("sleep/eth0").find(|s| !s.data.is_empty()).unwrap();
    assert_eq!((hello.data[0], hello.data[5]), (22, 1));
    for part in ["outbound_.80_._.web.default.svc.cluster.local", "\x0eistio-http/1.1\x05istio\x08http/1.1"] {
        assert!(contains(&hello.data, part), "{part}");
    }
    assert!(lab.at("sleep/eth0").all(|s| !contains(&s.data, "HTTP/1.1 200")));
    assert_eq!(fins(&lab, "sleep/eth0").count(), 0);
    // The other pod's lo: from 127.0.0.6, plain text again, with what both proxies have added.
    let (from, to) = lab.connections("web1/lo")[0];
    assert_eq!((*from.ip(), to), (Ipv4Addr::new(127, 0, 0, 6), "10.244.2.2:8080".parse().unwrap()));
    let request = lab.at("web1/lo").find(|s| s.data.starts_with(b"GET")).unwrap();
    let request = String::from_utf8(request.data.clone()).unwrap();
    let (by, uri) = (spiffe("web"), spiffe("sleep"));
    assert!(
        request.starts_with("GET / HTTP/1.1\r\nhost: web\r\nuser-agent: curl/7.88.1\r\naccept: */*\r\n"),
        "{request}"
    );
    for part in ["x-envoy-attempt-count: 1\r\n", &format!("By={by};Hash="), &format!("Subject=\"\";URI={uri}\r\n")] {
        assert!(request.contains(part), "{part}: {request}");
    }
    assert!(!request.contains("x-envoy-peer-metadata"), "{request}");
}

/// A line of each proxy for a request.
#[test]
fn access_log() {
    let mut lab = Lab::new(|_, config| config.clusters[0].endpoints.truncate(1));
    lab.run("sleep", "curl -s http://web/");
    let line = lab.log("sleep");
    for part in [
        "[2022-01-01T00:00:00.1",
        "\"GET / HTTP/1.1\" 200 - via_upstream - \"-\" 0 5 ",
        "\"curl/7.88.1\"",
        "\"web\" \"10.244.2.2:8080\" outbound|80||web.default.svc.cluster.local 10.244.1.2:",
        " 10.96.5.5:80 10.244.1.2:",
        " - default\n",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let line = lab.log("web1");
    assert!(line.contains(" inbound|8080|| 127.0.0.6:"), "{line}");
    assert!(line.contains(" outbound_.80_._.web.default.svc.cluster.local default\n"), "{line}");
}

/// Several requests: fewer connections than requests, to all endpoints in turn, and none ends with its curl.
#[test]
fn many_requests() {
    let mut lab = Lab::new(|_, _| {});
    let texts: Vec<String> = (0..6).map(|_| lab.run("sleep", "curl -s http://web/").0).collect();
    assert_eq!(texts.iter().filter(|t| *t == "web1\n").count(), 3, "{texts:?}");
    assert!(texts.windows(2).all(|pair| pair[0] != pair[1]), "{texts:?}");
    assert_eq!(lab.connections("sleep/lo").len(), 6);
    assert_eq!(lab.connections("sleep/eth0").len(), 2);
    assert_eq!(fins(&lab, "sleep/eth0").count(), 0);
    // The threads have pools of their own.
    let mut lab = Lab::with(4, |_, config| config.clusters[0].endpoints.truncate(1));
    for _ in 0..12 {
        lab.run("sleep", "curl -s http://web/");
    }
    let connections = lab.connections("sleep/eth0").len();
    assert!((2..=4).contains(&connections), "{connections}");
}

/// HTTP/2 between the proxies: one connection for requests that run side by side.
#[test]
fn http2_between_proxies() {
    let mut lab = Lab::new(|_, config| {
        config.clusters[0].endpoints.truncate(1);
        config.clusters[0].protocol = UpstreamProtocol::Http2;
    });
    let (text, code) = lab.run("sleep", "curl -s http://web/ http://web/nope http://web/");
    assert_eq!((text.matches("web1\n").count(), text.matches("<h1>404 Not Found").count(), code), (2, 1, 0), "{text}");
    let (text, _) = lab.run("sleep", "curl -s -d a=1 http://web/");
    assert!(text.contains("405 Not Allowed"), "{text}");
    assert_eq!(lab.connections("sleep/eth0").len(), 1);
    let hello = lab.at("sleep/eth0").find(|s| !s.data.is_empty()).unwrap();
    assert!(contains(&hello.data, "\x08istio-h2\x05istio\x02h2"));
    assert_eq!(lab.connections("web1/lo").len(), 1);
    let line = lab.log("web1");
    assert!(line.contains("\"GET /nope HTTP/2\" 404 - via_upstream"), "{line}");
    assert!(line.contains("\"POST / HTTP/2\" 405 - via_upstream - \"-\" 3 "), "{line}");
}

/// Who comes without a sidecar, and what the modes of mutual TLS make of it.
#[test]
fn modes_of_mtls() {
    for (mode, plain, mesh) in [
        (MtlsMode::Permissive, ("web1\n", 0), ("web1\n", 0)),
        (MtlsMode::Strict, ("curl: (56) Recv failure: Connection reset by peer\n", 56), ("web1\n", 0)),
    ] {
        let mut lab = Lab::new(|_, config| {
            config.clusters[0].endpoints.truncate(1);
            config.inbound.iter_mut().for_each(|i| i.mtls = mode);
        });
        let line = "curl http://10.244.2.2:8080/";
        assert_eq!(lab.run("ext", line), (plain.0.to_owned(), plain.1), "{mode:?}");
        assert_eq!(lab.run("sleep", "curl http://web/"), (mesh.0.to_owned(), mesh.1), "{mode:?}");
    }
    // The peer does not take it: its port is plain, so the hello is no request.
    let mut lab = Lab::new(|_, config| {
        config.clusters[0].endpoints.truncate(1);
        config.inbound[0].mtls = MtlsMode::Disable;
    });
    assert_eq!(lab.run("ext", "curl -s http://10.244.2.2:8080/").0, "web1\n");
    let (text, _) = lab.run("sleep", "curl -s http://web/");
    let error = "upstream connect error or disconnect/reset before headers. reset reason: connection failure, \
                 transport failure reason: TLS error: 268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER";
    assert_eq!(text, error);
    // In plain text to an endpoint without a sidecar.
    let mut lab = Lab::new(|_, config| {
        let address = "10.244.4.2:80".parse().unwrap();
        config.clusters[0].endpoints = vec![Endpoint { address, identity: None }];
    });
    assert_eq!(lab.run("sleep", "curl -s http://web/").0, "ext\n");
    assert!(lab.at("sleep/eth0").any(|s| s.data.starts_with(b"GET / HTTP/1.1\r\nhost: web\r\n")));
    // The peer is not who it should be.
    let mut lab = Lab::new(|_, config| {
        config.clusters[0].endpoints.truncate(1);
        config.clusters[0].endpoints[0].identity = Some(spiffe("somebody"));
    });
    let (text, _) = lab.run("sleep", "curl -s http://web/");
    assert!(text.ends_with("268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED"), "{text}");
    assert!(lab.log("sleep").contains("\"GET / HTTP/1.1\" 503 UF,URX upstream_reset_before_response_started"));
}

/// What the mesh does not know goes where it was meant to go, or nowhere.
#[test]
fn passthrough() {
    let mut lab = Lab::new(|_, _| {});
    // By the listener for port 80, where Host decides; then by none.
    assert_eq!(lab.run("sleep", "curl -s http://10.244.4.2/").0, "ext\n");
    assert_eq!(lab.run("sleep", "curl -s http://10.244.4.2:8000/").0, "ext\n");
    assert_eq!(lab.connections("sleep/eth0").len(), 2);
    assert_eq!(lab.connections("sleep/lo").len(), 2);
    // The copied one ends with its curl, the request's connection stays.
    let ended: Vec<u16> = fins(&lab, "sleep/eth0").filter(|s| s.out).map(|s| s.to.port()).collect();
    assert_eq!(ended, [8000]);
    // Nobody listens there.
    let (text, code) = lab.run("sleep", "curl http://10.244.4.2:81/");
    assert_eq!((text.as_str(), code), ("curl: (52) Empty reply from server\n", 52));
    let line = lab.log("sleep");
    assert!(line.contains("\"- - -\" 0 UF,URX - - \"-\" 0 0 "), "{line}");
    assert!(line.contains(" PassthroughCluster 10.244.1.2:"), "{line}");

    let mut lab = Lab::new(|_, config| config.outbound_traffic_policy = OutboundTrafficPolicy::RegistryOnly);
    let (text, _) = lab.run("sleep", "curl -si http://10.244.4.2/");
    assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\ndate: "), "{text}");
    assert!(text.ends_with("server: envoy\r\ncontent-length: 0\r\n\r\n"), "{text}");
    assert_eq!(lab.run("sleep", "curl -s http://10.244.4.2:8000/").1, 52);
    assert_eq!(lab.connections("sleep/eth0"), []);
}

/// What the proxy answers itself, and when it tries again.
#[test]
fn no_endpoint_answers() {
    let head = |text: &str| {
        text.replace("\r\n", "\n").lines().map(|l| l.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // No endpoint.
    let mut lab = Lab::new(|_, config| config.clusters[0].endpoints.clear());
    let (text, _) = lab.run("sleep", "curl -si http://web/");
    assert!(text.ends_with("\r\n\r\nno healthy upstream"), "{text}");
    let want = [
        "HTTP/1.1 503 Service Unavailable",
        "content-length",
        "content-type",
        "date",
        "server",
        "",
        "no healthy upstream",
    ];
    assert_eq!(head(&text), want);
    assert!(lab.log("sleep").contains(" 503 UH no_healthy_upstream - \"-\" 0 19 "));
    // Nobody listens at the only one: three tries, a while between them.
    let dead = |config: &mut Config| {
        let address = "10.244.4.2:9999".parse().unwrap();
        config.clusters[0].endpoints[0] = Endpoint { address, identity: None };
    };
    let mut lab = Lab::new(|_, config| {
        config.clusters[0].endpoints.truncate(1);
        dead(config);
    });
    let (text, _) = lab.run("sleep", "curl -s http://web/");
    assert_eq!(text, "upstream connect error or disconnect/reset before headers. reset reason: connection failure");
    assert_eq!(lab.connections("sleep/eth0").len(), 3);
    let line = lab.log("sleep");
    assert!(line.contains(" 503 UF,URX upstream_reset_before_response_started{connection_failure} - "), "{line}");
    // One of two: every request finds the other.
    let mut lab = Lab::new(|_, config| dead(config));
    for _ in 0..4 {
        assert_eq!(lab.run("sleep", "curl -s http://web/").0, "web2\n");
    }
    // A limit.
    let mut lab = Lab::new(|_, config| config.clusters[0].circuit_breakers.max_requests = 0);
    let (text, _) = lab.run("sleep", "curl -si http://web/");
    assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\nx-envoy-overloaded: true\r\n"), "{text}");
    assert!(text.ends_with("reset reason: overflow"), "{text}");
    assert!(lab.log("sleep").contains(" 503 UO upstream_reset_before_response_started{overflow} "));
}

/// Connections end when nobody has used them for long enough, or often enough.
#[test]
fn connections_end() {
    let mut lab = Lab::new(|_, config| {
        config.clusters[0].endpoints.truncate(1);
        config.clusters[0].idle_timeout_ms = Some(5_000);
    });
    lab.run("sleep", "curl -s http://web/");
    lab.wait(3_000 * MS);
    lab.run("sleep", "curl -s http://web/");
    lab.wait(3_000 * MS);
    assert_eq!((lab.connections("sleep/eth0").len(), fins(&lab, "sleep/eth0").count()), (1, 0));
    lab.wait(3_000 * MS);
    // close_notify says so first.
    let first = lab.at("sleep/eth0").find(|s| s.data.len() == 24).expect("a close_notify");
    assert_eq!((first.out, fins(&lab, "sleep/eth0").count()), (true, 2));

    let mut lab = Lab::new(|_, config| {
        config.clusters[0].endpoints.truncate(1);
        config.clusters[0].max_requests_per_connection = 2;
    });
    for _ in 0..4 {
        lab.run("sleep", "curl -s http://web/");
    }
    assert_eq!(lab.connections("sleep/eth0").len(), 2);
}

/// Streams of bytes to a Service, in mutual TLS.
#[test]
fn bytes_are_copied() {
    let mut lab = Lab::new(|_, _| {});
    // tcpecho sends the request back, which is no response.
    let got = lab.run("sleep", "curl http://10.96.5.5:7000/hello");
    assert_eq!(got, ("curl: (1) Received HTTP/0.9 when not allowed\n".to_owned(), 1));
    let hello = lab.at("sleep/eth0").find(|s| !s.data.is_empty()).unwrap();
    assert!(contains(&hello.data, "\x13istio-peer-exchange\x05istio"));
    assert!(lab.at("sleep/eth0").all(|s| !contains(&s.data, "GET /hello")));
    // Its end is the other ends' end.
    assert_eq!(fins(&lab, "sleep/eth0").count(), 2);
}

/// pilot-agent's status, by Envoy's port for it.
#[test]
fn ready() {
    let mut lab = Lab::new(|_, _| {});
    let (text, _) = lab.run("node", "curl -si http://10.244.1.2:15021/healthz/ready");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert_eq!(
        lab.connections("sleep/lo"),
        lab.connections("sleep/lo").into_iter().filter(|(_, to)| to.port() == 15020).collect::<Vec<_>>()
    );
    let (text, _) = lab.run("node", "curl -s http://10.244.1.2:15090/stats/prometheus");
    assert!(text.contains("envoy_cluster_upstream_cx_active{cluster_name=\"agent\"} 1\n"), "{text}");
}

/// What istiod tells moves traffic; a proxy that was told nothing yet is not ready.
#[test]
fn updates() {
    let whole = Resources::Config(config(&[endpoint(2, true)]));
    let cluster = format!("outbound|80||{HOST}");
    let moved = ClusterLoadAssignment { cluster, endpoints: vec![endpoint(3, true)] };
    let istiod = Istiod::new(vec![(5_000 * MS, whole), (5_000 * MS, Resources::Endpoints(vec![moved]))]);
    let mut lab = Lab::new(|_, _| {});
    let ns = lab.world.namespace("ext").unwrap();
    let pid = lab.world.spawn(ns, Box::new(istiod), lab.now).unwrap();
    // sleep's proxy starts anew, and asks.
    lab.log("sleep");
    let host = "istiod.istio-system.svc".to_owned();
    let discovery = Some(Discovery { address: "10.244.4.2:15012".parse().unwrap(), host });
    let bootstrap = Bootstrap { discovery, config: None, ..bootstrap("sleep", 1, Config::default()) };
    let sleep = lab.world.namespace("sleep").unwrap();
    lab.world.spawn_as(sleep, PROXY, Box::new(Envoy::new(bootstrap)), lab.now).unwrap();
    lab.wait(1_000 * MS);

    let ready = "curl -s -o /dev/null -w %{http_code} http://10.244.1.2:15021/healthz/ready";
    assert_eq!(lab.run("node", ready).0, "503");
    assert_eq!(lab.run("sleep", "curl -s http://web/").1, 52);
    lab.wait(5_000 * MS);
    assert_eq!(lab.run("node", ready).0, "200");
    assert_eq!(lab.run("sleep", "curl -s http://web/").0, "web1\n");
    assert_eq!(fins(&lab, "sleep/eth0").filter(|s| s.to.port() == 8080).count(), 0);
    lab.wait(5_000 * MS);
    assert_eq!(lab.run("sleep", "curl -s http://web/").0, "web2\n");
    // Nobody waits for the connection to who is gone.
    assert_eq!(fins(&lab, "sleep/eth0").filter(|s| s.out && s.to.port() == 8080).count(), 1);

    lab.world.kill(ns.machine(), pid, 9, lab.now, &mut lab.wire).expect("no limit");
    let heard = lab.world.reap(ns, pid).expect("it has ended").console.all();
    let versions: Vec<&str> = heard.lines().filter_map(|l| l.split("version: ").nth(1)).collect();
    let by = format!(" }}) Some({:?})", spiffe("sleep"));
    assert_eq!(versions, [format!("0{by}"), format!("2{by}"), format!("3{by}")]);
    // It keeps what it knows, and tries again.
    lab.wait(3_000 * MS);
    assert_eq!(lab.run("sleep", "curl -s http://web/").0, "web2\n");
    let tries = lab.connections("sleep/eth0").iter().filter(|(_, to)| to.port() == 15012).count();
    assert!((3..=5).contains(&tries), "{tries}");
}

/// flows.jsonl: from the app's connection to the nginx's, proxy by proxy.
#[test]
fn flows_name_what_they_were_proxied_from() {
    let memory = recorded(UpstreamProtocol::Http11);
    let text = String::from_utf8(memory.files["flows.jsonl"].clone()).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let to = |source: &str, destination: &str| -> Vec<&serde_json::Value> {
        let is = |l: &&serde_json::Value| {
            l["source"].as_str().unwrap().starts_with(source) && l["destination"].as_str() == Some(destination)
        };
        lines.iter().filter(is).collect()
    };
    let apps: Vec<_> = to("10.244.1.2", "127.0.0.1:15001").into_iter().map(|l| l["flow"].clone()).collect();
    assert_eq!(apps.len(), 2);
    let [between] = to("10.244.1.2", "10.244.2.2:8080")[..] else { panic!("{text}") };
    assert_eq!(between["proxied_from"], serde_json::Value::Array(apps.clone()));
    let [local] = to("127.0.0.6", "10.244.2.2:8080")[..] else { panic!("{text}") };
    assert_eq!(local["proxied_from"], serde_json::json!([between["flow"]]));
    assert!(lines.iter().filter(|l| apps.contains(&l["flow"])).all(|l| l["proxied_from"].is_null()));
}

/// What tshark reads of cluster.pcapng, which has the secrets; none where there is no tshark.
fn tshark(memory: &Memory, name: &str, args: &[&str]) -> Option<String> {
    let file = std::env::temp_dir().join(format!("podhop-envoy-{name}-{}.pcapng", std::process::id()));
    std::fs::write(&file, &memory.files["captures/cluster.pcapng"]).expect("a temporary file");
    let output = std::process::Command::new("tshark").arg("-r").arg(&file).args(args).output();
    std::fs::remove_file(&file).expect("it is there");
    match output {
        Ok(output) => Some(String::from_utf8(output.stdout).expect("text")),
        Err(_) if std::env::var_os("CI").is_some() => panic!("tshark is missing"),
        Err(_) => {
            println!("skipped: tshark is missing");
            None
        }
    }
}

#[test]
fn tshark_reads_the_requests() {
    let pod = ["-d", "tcp.port==8080,tls", "-Y"];
    let shows = |memory: &Memory, name: &str, filter: &str, field: &str| {
        let text = tshark(memory, name, &[&pod[..], &[filter, "-T", "fields", "-e", field]].concat())?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.dedup();
        Some(lines)
    };
    let memory = recorded(UpstreamProtocol::Http11);
    let Some(agents) = shows(&memory, "one", "tls && http.request", "http.user_agent") else { return };
    assert_eq!(agents, ["curl/7.88.1"]);
    let alpn = shows(&memory, "one", "tls.handshake.type == 1", "tls.handshake.extensions_alpn_str").unwrap();
    assert_eq!(alpn, ["istio-http/1.1,istio,http/1.1"]);
    let memory_two = recorded(UpstreamProtocol::Http2);
    let paths = shows(&memory_two, "two", "http2.headers.path", "http2.headers.path").unwrap();
    assert_eq!(paths, ["/"]);
    let statuses = shows(&memory_two, "two", "http2.headers.status", "http2.headers.status").unwrap();
    assert_eq!(statuses, ["200"]);
    for (memory, name) in [(&memory, "one"), (&memory_two, "two")] {
        let wrong = "_ws.malformed || tls.alert_message.level == 2 || http2.rst_stream.error";
        assert_eq!(tshark(memory, name, &[&pod[..], &[wrong]].concat()).unwrap(), "");
    }
}
