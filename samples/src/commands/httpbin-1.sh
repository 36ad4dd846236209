curl -i http://localhost:8080/headers
