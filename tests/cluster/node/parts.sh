# shellcheck shell=bash disable=SC2034,SC2154 # it shares its variables with run.sh
# The parts of one node for run.sh, which sources this: how each is configured and started. Only in apart.sh's world: /run, /var/lib and the
# network are ours there, so every program keeps its usual paths.
node_parts=(containerd dns scheduler kubelet proxy) # the proxy waits for the address of its node
# The API server, the kubelet and the pods' gateway are at the bridge's address: pods cannot reach loopback.
node_ip=10.85.0.1
api_address=(--bind-address 0.0.0.0 --advertise-address "$node_ip" --kubelet-preferred-address-types InternalIP)

node_configure() {
  ip link add cni0 type bridge && ip addr add "$node_ip/24" dev cni0 && ip link set cni0 up || return
  ip route add 10.96.0.0/16 dev cni0 || return # any route: what is sent to a Service is redirected afterwards
  echo 1 >/proc/sys/net/ipv4/ip_forward
  mkdir -p cni
  cat >cni/10-bridge.conflist <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.85.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
  # Where an OOM score may not be lowered, it is only raised. "native" copies an image's files, which works on every file system.
  cat >containerd.toml <<TOML
version = 2
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  BinaryName = "$node/runc"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$dir/cni"
TOML
  cat >kubelet.yaml <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: [$node_ip]
clusterDomain: cluster.local
cgroupDriver: cgroupfs
cgroupRoot: /$APART
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
volumePluginDir: /var/lib/kubelet/plugins-of-volumes
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
YAML
}

node_start() { # node_start NAME: launch it and wait until it does its work
  local config=(--kubeconfig kubeconfig)
  case $1 in
  containerd)
    launch containerd containerd -c containerd.toml
    until_ok containerd ctr version && ctr -n k8s.io images import "$node/pause.tar" >/dev/null ;;
  dns) launch dns python3 "$here/node/dns.py" "$node_ip" "$bin/kubectl" kubeconfig ;;
  scheduler)
    launch scheduler "$node/kube-scheduler" "${config[@]}" --leader-elect=false --secure-port 0 ;;
  proxy) # the table of connections belongs to the whole machine
    launch proxy "$node/kube-proxy" "${config[@]}" --cluster-cidr 10.85.0.0/24 --hostname-override node1 --oom-score-adj 0 \
      --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0s --conntrack-tcp-timeout-close-wait 0s
    until_ok proxy timeout 1 bash -c 'exec 3<>/dev/tcp/10.96.0.1/443' ;;
  kubelet)
    launch kubelet "$node/kubelet" "${config[@]}" --config kubelet.yaml --hostname-override node1 --node-ip "$node_ip"
    until_ok kubelet "$bin/kubectl" --kubeconfig kubeconfig wait --for=condition=Ready node/node1 --timeout=1s ;;
  *) return 1 ;;
  esac
}
