//! A client whose calls are counted and whose way to the API server can be cut.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use http::Request;
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::util::MapRequestLayer;

/// Bytes go both ways until it is cut.
pub(crate) struct Wire {
    pub(crate) client: Client,
    calls: Arc<AtomicUsize>,
    server: String,
    listens: SocketAddr,
    carriers: JoinSet<()>,
}

impl Wire {
    /// To the API server of a kubeconfig.
    pub(crate) async fn to(kubeconfig: &Path) -> Self {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let server = config.cluster_url.authority().unwrap().to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listens = listener.local_addr().unwrap();
        config.cluster_url = format!("https://{listens}").parse().unwrap();
        config.default_retry = false;
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let count = MapRequestLayer::new(move |request: Request<Body>| {
            counted.fetch_add(1, SeqCst);
            request
        });
        let client = ClientBuilder::try_from(config).unwrap().with_layer(&count).build();
        let mut wire = Self { client, calls, server, listens, carriers: JoinSet::new() };
        wire.carry(listener);
        wire
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    /// Ends every connection and takes no more.
    pub(crate) fn cut(&mut self) {
        self.carriers = JoinSet::new();
    }

    /// Carries on.
    pub(crate) async fn mend(&mut self) {
        // The listener that was given up may take a moment to go.
        let listener = loop {
            match TcpListener::bind(self.listens).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        self.carry(listener);
    }

    fn carry(&mut self, listener: TcpListener) {
        let server = self.server.clone();
        self.carriers.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut here, _) = listener.accept().await.unwrap();
                let server = server.clone();
                connections.spawn(async move {
                    let mut there = TcpStream::connect(server).await.unwrap();
                    let _ = copy_bidirectional(&mut here, &mut there).await;
                });
            }
        });
    }
}
