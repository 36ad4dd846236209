sed -i.bak 's/subset: v3/subset: [v3/' DIR/reviews.yaml
sleep 1
curl -s http://localhost:8080/api/v1/products/0/reviews
mv DIR/reviews.yaml.bak DIR/reviews.yaml
