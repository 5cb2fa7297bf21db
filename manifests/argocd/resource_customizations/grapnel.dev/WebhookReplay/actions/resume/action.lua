-- Sets spec.suspend back to false.
obj.spec.suspend = false
return obj
