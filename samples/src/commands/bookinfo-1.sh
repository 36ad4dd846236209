for i in 1 2 3 4 5 6; do curl -s http://localhost:8080/productpage | grep -o -m1 'reviews-v[0-9]'; done
