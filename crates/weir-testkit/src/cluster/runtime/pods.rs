//! All sandboxes and containers: what is made, asked for and removed.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tonic::Status;

use super::container::{Container, Life};
use super::cri::*;
use super::images::{Images, name_of};
use super::sandbox::Sandbox;
use super::{Host, exec};

/// Pods' addresses are those of 10.244.0.0/16 above the node's.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 244, 0, 2]);
const ADDRESSES: u32 = 0xfff0;

/// All of them.
pub(super) struct Pods {
    pub images: Images,
    host: Host,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    sandboxes: BTreeMap<String, Arc<Sandbox>>,
    containers: BTreeMap<String, Arc<Container>>,
    /// So many addresses were given.
    given: u32,
}

impl Pods {
    pub fn new(host: Host, images: Images) -> Self {
        Self { images, host, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, Status> {
        self.known().sandboxes.get(id).cloned().ok_or_else(|| Status::not_found(format!("there is no sandbox {id}")))
    }

    fn container(&self, id: &str) -> Result<Arc<Container>, Status> {
        self.known().containers.get(id).cloned().ok_or_else(|| Status::not_found(format!("there is no container {id}")))
    }

    fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        self.known().containers.values().filter(|container| container.sandbox.id == sandbox).cloned().collect()
    }

    pub async fn run_sandbox(&self, asked: RunPodSandboxRequest) -> Result<RunPodSandboxResponse, Status> {
        let config = asked.config.ok_or_else(|| Status::invalid_argument("a sandbox has a configuration"))?;
        let id = new_id();
        let address = self.next_address();
        let sandbox = Sandbox::start(&self.host, id.clone(), config, now(), address).await.map_err(Status::internal)?;
        self.known().sandboxes.insert(id.clone(), Arc::new(sandbox));
        Ok(RunPodSandboxResponse { pod_sandbox_id: id })
    }

    /// Addresses are not given again before all others were.
    fn next_address(&self) -> Ipv4Addr {
        let mut known = self.known();
        let number = known.given % ADDRESSES;
        known.given = number + 1;
        Ipv4Addr::from(FIRST_ADDRESS + number)
    }

    pub async fn stop_sandbox(&self, asked: StopPodSandboxRequest) -> Result<StopPodSandboxResponse, Status> {
        // One that is gone is stopped.
        if let Ok(sandbox) = self.sandbox(&asked.pod_sandbox_id) {
            sandbox.stop().await;
            for container in self.containers_of(&sandbox.id) {
                container.stop(Duration::ZERO).await;
            }
        }
        Ok(StopPodSandboxResponse {})
    }

    pub async fn remove_sandbox(&self, asked: RemovePodSandboxRequest) -> Result<RemovePodSandboxResponse, Status> {
        let id = asked.pod_sandbox_id;
        self.stop_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.clone() }).await?;
        for container in self.containers_of(&id) {
            self.remove_container(RemoveContainerRequest { container_id: container.id.clone() }).await?;
        }
        self.known().sandboxes.remove(&id);
        Ok(RemovePodSandboxResponse {})
    }

    pub fn sandbox_status(&self, asked: &PodSandboxStatusRequest) -> Result<PodSandboxStatusResponse, Status> {
        let sandbox = self.sandbox(&asked.pod_sandbox_id)?;
        let ip = sandbox.address.map_or_else(|| self.host.bridge.1.to_owned(), |address| address.to_string());
        let status = PodSandboxStatus {
            id: sandbox.id.clone(),
            metadata: sandbox.config.metadata.clone(),
            state: state(&sandbox).into(),
            created_at: sandbox.created,
            network: Some(PodSandboxNetworkStatus { ip, ..Default::default() }),
            labels: sandbox.config.labels.clone(),
            annotations: sandbox.config.annotations.clone(),
            ..Default::default()
        };
        Ok(PodSandboxStatusResponse { status: Some(status), ..Default::default() })
    }

    pub fn list_sandboxes(&self, asked: &ListPodSandboxRequest) -> ListPodSandboxResponse {
        let filter = asked.filter.clone().unwrap_or_default();
        let told = |sandbox: &Arc<Sandbox>| PodSandbox {
            id: sandbox.id.clone(),
            metadata: sandbox.config.metadata.clone(),
            state: state(sandbox).into(),
            created_at: sandbox.created,
            labels: sandbox.config.labels.clone(),
            annotations: sandbox.config.annotations.clone(),
            ..Default::default()
        };
        let is_asked_for = |sandbox: &PodSandbox| {
            (filter.id.is_empty() || filter.id == sandbox.id)
                && filter.state.is_none_or(|wanted| wanted.state == sandbox.state)
                && has(&sandbox.labels, &filter.label_selector)
        };
        ListPodSandboxResponse { items: self.known().sandboxes.values().map(told).filter(is_asked_for).collect() }
    }

    pub fn create_container(&self, asked: CreateContainerRequest) -> Result<CreateContainerResponse, Status> {
        let sandbox = self.sandbox(&asked.pod_sandbox_id)?;
        let config = asked.config.ok_or_else(|| Status::invalid_argument("a container has a configuration"))?;
        let name = name_of(config.image.as_ref());
        let program = self.images.program(name, &config.command, &config.args);
        let program = program.ok_or_else(|| Status::not_found(format!("no image of this cluster is called {name:?}")))?;
        let container = Container::new(&self.host, new_id(), sandbox, config, program).map_err(Status::internal)?;
        let id = container.id.clone();
        self.known().containers.insert(id.clone(), container);
        Ok(CreateContainerResponse { container_id: id })
    }

    pub fn start_container(&self, asked: &StartContainerRequest) -> Result<StartContainerResponse, Status> {
        let container = self.container(&asked.container_id)?;
        container.start(&self.host).map_err(|error| Status::internal(error.to_string()))?;
        Ok(StartContainerResponse {})
    }

    pub async fn stop_container(&self, asked: StopContainerRequest) -> Result<StopContainerResponse, Status> {
        if let Ok(container) = self.container(&asked.container_id) {
            container.stop(Duration::from_secs(u64::try_from(asked.timeout).unwrap_or_default())).await;
        }
        Ok(StopContainerResponse {})
    }

    pub async fn remove_container(&self, asked: RemoveContainerRequest) -> Result<RemoveContainerResponse, Status> {
        if let Ok(container) = self.container(&asked.container_id) {
            container.stop(Duration::ZERO).await;
            container.remove(&self.host);
            self.known().containers.remove(&container.id);
        }
        Ok(RemoveContainerResponse {})
    }

    pub fn list_containers(&self, asked: &ListContainersRequest) -> ListContainersResponse {
        let filter = asked.filter.clone().unwrap_or_default();
        let told = |container: &Arc<super::container::Container>| super::cri::Container {
            id: container.id.clone(),
            pod_sandbox_id: container.sandbox.id.clone(),
            metadata: container.config.metadata.clone(),
            image: container.config.image.clone(),
            image_ref: name_of(container.config.image.as_ref()).to_owned(),
            image_id: name_of(container.config.image.as_ref()).to_owned(),
            state: container.life().state().into(),
            created_at: container.created,
            labels: container.config.labels.clone(),
            annotations: container.config.annotations.clone(),
        };
        let is_asked_for = |container: &super::cri::Container| {
            (filter.id.is_empty() || filter.id == container.id)
                && (filter.pod_sandbox_id.is_empty() || filter.pod_sandbox_id == container.pod_sandbox_id)
                && filter.state.is_none_or(|wanted| wanted.state == container.state)
                && has(&container.labels, &filter.label_selector)
        };
        ListContainersResponse { containers: self.known().containers.values().map(told).filter(is_asked_for).collect() }
    }

    pub fn container_status(&self, asked: &ContainerStatusRequest) -> Result<ContainerStatusResponse, Status> {
        let container = self.container(&asked.container_id)?;
        let life = container.life();
        let (started_at, finished_at, exit_code) = match life {
            Life::Created => (0, 0, 0),
            Life::Running { started, .. } => (started, 0, 0),
            Life::Exited { started, finished, code } => (started, finished, code),
        };
        let reason = match (life, exit_code) {
            (Life::Exited { .. }, 0) => "Completed",
            (Life::Exited { .. }, _) => "Error",
            _ => "",
        };
        let image = name_of(container.config.image.as_ref()).to_owned();
        let status = ContainerStatus {
            id: container.id.clone(),
            metadata: container.config.metadata.clone(),
            state: life.state().into(),
            created_at: container.created,
            started_at,
            finished_at,
            exit_code,
            image: container.config.image.clone(),
            image_ref: image.clone(),
            image_id: image,
            reason: reason.to_owned(),
            labels: container.config.labels.clone(),
            annotations: container.config.annotations.clone(),
            mounts: container.config.mounts.clone(),
            log_path: container.log_path().display().to_string(),
            ..Default::default()
        };
        Ok(ContainerStatusResponse { status: Some(status), ..Default::default() })
    }

    pub fn reopen_log(&self, asked: &ReopenContainerLogRequest) -> Result<ReopenContainerLogResponse, Status> {
        self.container(&asked.container_id)?.reopen_log().map_err(|error| Status::internal(error.to_string()))?;
        Ok(ReopenContainerLogResponse {})
    }

    pub async fn exec(&self, asked: ExecSyncRequest) -> Result<ExecSyncResponse, Status> {
        let patience = Duration::from_secs(u64::try_from(asked.timeout).unwrap_or_default());
        exec::run(&*self.container(&asked.container_id)?, &asked.cmd, patience).await
    }

    /// Where containers' files are; how much that is nobody measures.
    pub fn file_systems(&self) -> ImageFsInfoResponse {
        let usage = FilesystemUsage {
            timestamp: now(),
            fs_id: Some(FilesystemIdentifier { mountpoint: self.host.folder.display().to_string() }),
            used_bytes: Some(UInt64Value { value: 0 }),
            inodes_used: Some(UInt64Value { value: 0 }),
        };
        ImageFsInfoResponse { image_filesystems: vec![usage.clone()], container_filesystems: vec![usage] }
    }

    /// Ends all that runs.
    pub async fn end(&self) {
        let sandboxes: Vec<Arc<Sandbox>> = self.known().sandboxes.values().cloned().collect();
        for sandbox in sandboxes {
            let _ = self.stop_sandbox(StopPodSandboxRequest { pod_sandbox_id: sandbox.id.clone() }).await;
        }
    }
}

fn state(sandbox: &Sandbox) -> PodSandboxState {
    if sandbox.is_ready() { PodSandboxState::SandboxReady } else { PodSandboxState::SandboxNotready }
}

fn has(labels: &HashMap<String, String>, wanted: &HashMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

fn new_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// In nanoseconds since 1970.
pub(super) fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
