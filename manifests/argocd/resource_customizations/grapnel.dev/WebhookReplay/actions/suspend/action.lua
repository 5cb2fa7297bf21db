-- Sets spec.suspend.
obj.spec.suspend = true
return obj
