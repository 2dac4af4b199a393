# Plots figures.csv of `bench/api/run`: folder='…' says where it is.
set datafile separator ','
set terminal svg size 900,540 enhanced font 'sans-serif,13' background rgb 'white'
set key outside right top vertical spacing 1.2
set grid ytics xtics lc rgb '#dddddd' lt 1
set border 3 lc rgb '#555555'
set tics nomirror
set logscale x
set xlabel 'connections in the store'
set xtics ('1,000' 1e3, '3,000' 3e3, '10,000' 1e4, '30,000' 3e4, '100,000' 1e5)
set xrange [900:110000]
data = folder . '/figures.csv'

set output folder . '/latency.svg'
set title 'One request at a time: median'
set ylabel 'ms'
set logscale y
set yrange [0.1:50]
lists = "'list by customer gateway' 'list by VPN gateway, by status' 'list by tag, by name' 'list by name search, newest first' 'list by name search, by name' 'list of all by name' 'list of all by name search, by status'"
# awk splits the quoted names at their commas too, so the columns are counted from the end.
rows(name) = sprintf("< grep -F '\"%s\"' %s | awk -F, '{print $1\",\"$(NF-3)}'", name, data)
plot 1 title 'goal of get' with lines dt 2 lc rgb '#999999', \
     5 title 'goal up to 10,000 matches' with lines dt 3 lc rgb '#999999', \
     25 title 'goal beyond' with lines dt 4 lc rgb '#999999', \
     rows('get') using 1:2 title 'get' with linespoints pt 7 ps 0.7 lw 2, \
     for [name in lists] rows(name) using 1:2 title name with linespoints pt 7 ps 0.7 lw 2

set output folder . '/throughput.svg'
set title 'Many requests at a time: median of the rounds'
set ylabel 'per second'
set yrange [100:20000]
rates = "'gets' 'creates of connections' 'creates of customer gateways'"
plot 5000 title 'goal of gets' with lines dt 2 lc rgb '#999999', \
     1000 title 'goal of creates' with lines dt 3 lc rgb '#999999', \
     for [name in rates] rows(name) using 1:2 title name with linespoints pt 7 ps 0.7 lw 2

set output folder . '/space.svg'
set title 'Memory of the process and size of the database'
set ylabel 'MB'
set yrange [10:1000]
plot for [name in "'memory' 'database file'"] rows(name) using 1:2 title name with linespoints pt 7 ps 0.7 lw 2
