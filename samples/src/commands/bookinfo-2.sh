cat > DIR/reviews.yaml <<'EOF'
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts:
  - reviews
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    route:
    - destination:
        host: reviews
        subset: v2
  - route:
    - destination:
        host: reviews
        subset: v3
EOF
sleep 1
curl -s -H 'end-user: jason' http://localhost:8080/api/v1/products/0/reviews
curl -s http://localhost:8080/api/v1/products/0/reviews
