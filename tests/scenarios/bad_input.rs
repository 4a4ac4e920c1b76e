//! What no well-meaning client sends: each piece of it gets the status of contract §1, a clean error, and a server
//! that goes on. That no error shows the server's insides is looked at in every reply, by the harness.

mod bodies;
mod fuzz;
mod identity;
mod paths;
mod wire;
