sed -i.bak 's/subset: v2/subset: [v2/' DIR/virtual-service.yaml
sleep 1
bash -c 'exec 3<>/dev/tcp/127.0.0.1/31400; echo hello >&3; head -n1 <&3'
mv DIR/virtual-service.yaml.bak DIR/virtual-service.yaml
