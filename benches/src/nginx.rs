//! A private nginx: what answers at the end, and the plain reverse proxy beside the gateway.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// Where Debian has it; on PATH elsewhere.
const PROGRAMS: [&str; 2] = ["/usr/sbin/nginx", "nginx"];

/// An nginx of this process, with two workers, on loopback. Ends when it is dropped.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    address: String,
}

impl Nginx {
    /// Starts one below `home` with `http`, the directives of its only `server`, behind TLS with
    /// `server.pem` and `server.key` of `home`. `outside` stands beside that server.
    ///
    /// # Panics
    ///
    /// It is not installed (`apt-get install nginx`), or refuses its configuration.
    #[must_use]
    pub fn start(home: &Path, name: &str, outside: &str, http: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        drop(listener);
        let folder = home.join(name);
        fs::create_dir_all(&folder).expect("a directory");
        let at = |file: &str| home.join(file).display().to_string();
        let scratch = folder.display();
        let configuration = format!(
            "daemon off;\nworker_processes 2;\nuser root;\npid {scratch}/pid;\n\
             error_log {scratch}/error.log;\nevents {{ worker_connections 1024; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 100000000;\n  \
             client_body_temp_path {scratch}/body;\n  proxy_temp_path {scratch}/proxy;\n  \
             fastcgi_temp_path {scratch}/fastcgi;\n  uwsgi_temp_path {scratch}/uwsgi;\n  \
             scgi_temp_path {scratch}/scgi;\n  {outside}\n  server {{\n    \
             listen {address} ssl;\n    ssl_certificate {};\n    ssl_certificate_key {};\n    \
             {http}\n  }}\n}}\n",
            at("server.pem"),
            at("server.key"),
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration).expect("a configuration");
        let program = PROGRAMS
            .into_iter()
            .find(|program| Path::new(program).exists())
            .unwrap_or("nginx");
        let child = Command::new(program)
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx: install it with `apt-get install nginx`");
        let mut nginx = Self { child, address };
        for _ in 0..100 {
            if TcpStream::connect(&nginx.address).is_ok() {
                return nginx;
            }
            let ended = nginx.child.try_wait().expect("our child");
            assert!(ended.is_none(), "nginx refuses {}", file.display());
            thread::sleep(Duration::from_millis(50));
        }
        panic!("nginx does not listen at {}", nginx.address);
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it when it is told to.
        let told = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        if !told.is_ok_and(|status| status.success()) {
            let _gone = self.child.kill();
        }
        let _reaped = self.child.wait();
    }
}
