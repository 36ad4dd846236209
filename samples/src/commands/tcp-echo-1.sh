bash -c 'for i in {1..10}; do exec 3<>/dev/tcp/127.0.0.1/31400; echo "hello $i" >&3; head -n1 <&3; done'
