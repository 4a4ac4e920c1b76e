//! A route that answers with a few bytes and does nothing: what warp can do at the most.

use warp::Filter;

/// Serves it until killed, and says on which port.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("port {}", listener.local_addr()?.port());
        let route = warp::path!("empty").map(|| "empty");
        warp::serve(route).incoming(listener).run().await;
        Ok(())
    })
}
