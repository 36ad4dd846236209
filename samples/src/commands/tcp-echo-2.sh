cat > DIR/virtual-service.yaml <<'EOF'
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: tcp-echo
spec:
  hosts:
  - "*"
  gateways:
  - tcp-echo-gateway
  tcp:
  - match:
    - port: 31400
    route:
    - destination:
        host: tcp-echo
        port:
          number: 9000
        subset: v2
EOF
sleep 1
bash -c 'for i in {1..10}; do exec 3<>/dev/tcp/127.0.0.1/31400; echo "hello $i" >&3; head -n1 <&3; done'
